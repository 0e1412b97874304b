"""The slow path: what the flow table does not know is decided here, once.

Each exception waits for one of the processor's cores, is served for a stated time, and is then
decided: the layers are evaluated, the flow is put into the table, and the packet goes back to be
looked up. Functions take turns, and packets of one order slot are served one after the other.

Commands are posted, not awaited: the book says at once what the table will hold, for commands take
effect in order. A packet waits for the completions of its own, and packets leave in the order in
which they were served.
"""

from collections import deque
from dataclasses import dataclass, field

from ..gft import spec
from ..rtl.octets import pack, size_of, unpack
from .aging import Aging
from .answers import Answers
from .encode import Stamp, entry_of_decision, flow_of_key, key_of_exception, key_of_flow
from .flow import Verdict
from .flow_book import Connections, FlowBook
from .flow_rows import FlowRows
from .policy import evaluate
from .scheduler import Scheduler

__all__ = ["SlowPathCounters", "SlowPath"]

_OLDEST = 0x3FFF  # generations that an entry may be behind before it is taken out
_UNSENT = 4       # commands that may wait for room before the next packet is served
_HEAD = size_of(spec.ExceptionDescriptor)

# What the layers decide; a packet that waited for its order only looks again if its flow is there.
_DECIDES = (spec.Reason.MISS, spec.Reason.GENERATION, spec.Reason.ORDER)


@dataclass
class SlowPathCounters:
    """What was served, and how it ended."""
    served:     int = 0
    decided:    int = 0
    inserted:   int = 0
    updated:    int = 0
    evicted:    int = 0
    answered:   int = 0  # ARP and neighbour discovery
    leased:     int = 0  # DHCP
    told:       int = 0  # Time Exceeded
    looked_up:  int = 0  # went back through the table
    dropped:    dict = field(default_factory=dict)  # by reason

    def drop(self, reason):
        """Count one packet that ended here."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


@dataclass
class _Leaving:
    """What was served and waits for its commands; without ``descriptor`` no packet does."""
    descriptor: object
    frame:      bytes
    verdict:    spec.Verdict
    inserts:    tuple = ()
    tickets:    tuple = ()

    @property
    def ready(self):
        return all(insert.ticket.done for insert in self.inserts) \
            and all(ticket.done for ticket in self.tickets)


class SlowPath:
    """Serves the exceptions of a card.

    ``network`` answers ``layers_of(function_id)``, ``receiver_of(flow)``, ``template_of(tunnel)``,
    ``mac_of(function_id, asker, target)``, ``lease_of(function_id, mac)`` and
    ``router_of(function_id, address)``. ``cores`` and ``service_ns`` are the processor: a packet is
    done ``service_ns`` after its core began with it, or ``known_ns`` if its flow was decided before
    (it shares an order slot with a flow that waits): a key is looked up. Both are guesses, to be
    stated beside every connection rate (:attr:`parameters`). With ``pairs`` the first packet of a
    connection has its replies decided, too, within one service: each connection comes here once.

    Every ``epoch_ns`` an epoch ends (0: never); flows that no packet has met for ``idle_epochs`` of
    them go. A flow whose FIN was seen goes ``linger_ns`` later, one with RST at once.
    """

    idle_ns = 50_000  # how often events are looked for while no packet comes
    expires = 32      # flows that go before the next packet is served

    def __init__(self, port, table, network, *, cores=4, service_ns=20_000, known_ns=1_000,
                 quota=None, pairs=False, epoch_ns=0, idle_epochs=2, linger_ns=1_000_000):
        if idle_epochs < 1:
            raise ValueError(f"`idle_epochs` must be at least 1, not {idle_epochs!r}")
        self.scheduler   = Scheduler(cores=cores, service_ns=service_ns, known_ns=known_ns,
                                     is_known=self._is_known)
        self.port        = port
        self.table       = table
        self.network     = network
        self.cores       = cores
        self.service_ns  = service_ns
        self.book        = FlowBook(rows=table.flows, quota=quota or max(1, table.flows // 4))
        self.connections = Connections()
        self.counters    = SlowPathCounters()
        self.generations = {}      # function -> (current, hard)
        self.pairs       = pairs
        self._leaving    = deque()  # served, in order
        self.rows        = FlowRows(table, self.book, self.counters, watch=self._watch,
                                    drain=lambda: self._leave(wait=True))
        self._answers    = Answers(self, self._answer)
        self._stopping   = False
        self.parameters  = {"cores": cores, "service_ns": service_ns, "known_ns": known_ns,
                            "epoch_ns": epoch_ns, "idle_epochs": idle_epochs,
                            "linger_ns": linger_ns, "quota": self.book.quota, "pairs": pairs}
        self.aging       = Aging(self, epoch_ns=epoch_ns, idle_epochs=idle_epochs,
                                 linger_ns=linger_ns)

    # --- the loop -------------------------------------------------------------------------------

    async def run(self):
        """Serve until :meth:`stop`; start it once, as a task of whatever schedules us."""
        looked, ring = self.port.now_ns(), self.table.ring
        while not self._stopping:
            now  = self.port.now_ns()
            wait = self.idle_ns
            done = self.scheduler.next_done()
            if done is not None:
                wait = max(0, min(wait, done - now))
            if len(ring) or self._leaving and self._leaving[0].ready:
                wait = 0  # a look for events takes completions, too
            packet = await self.port.receive(wait)
            now = self.port.now_ns()
            if packet is not None:
                self._admit(packet, now)
            while (served := self.scheduler.take(now)) is not None:
                await self._serve(*served)
                await ring.sent(_UNSENT)
                now = self.port.now_ns()
            if len(ring) and packet is None:  # else one more may go in the same burst
                await ring.step()
            await self._leave()
            if ring.events or now - looked >= self.idle_ns:
                looked = now
                await self.serve_events()
            if self.aging.due(now):
                await self.aging.step(now)
        await self._leave(wait=True)

    def stop(self):
        """Let :meth:`run` return."""
        self._stopping = True

    def resume(self):
        """:meth:`run` may be started again."""
        self._stopping = False

    @property
    def waiting(self):
        """Packets that wait for a core, are being served, or wait for their commands."""
        return len(self.scheduler) + len(self._leaving)

    def _admit(self, packet, now):
        """Let a packet wait for its turn: its sender's, or the wire's."""
        descriptor = unpack(spec.ExceptionDescriptor, packet[:_HEAD])
        wire = descriptor.direction == spec.Direction.WIRE
        flow = key_of_exception(descriptor) if descriptor.reason in _DECIDES else None
        self.scheduler.admit((descriptor, packet[_HEAD:_HEAD + descriptor.length]), flow=flow,
                             slot=descriptor.order_slot, now=now,
                             function=None if wire else descriptor.function_id)

    async def serve_events(self):
        """Take events: flows of an old generation are decided again, ended connections go."""
        for event in await self.table.events():
            record = self.book.by_handle.get(event.handle)
            if record is None:
                continue
            if event.kind == spec.EventKind.GENERATION:
                if not self._is_fresh(record):  # every packet until then raised an event
                    self._watch(self._refresh(record))
            elif event.kind == spec.EventKind.TCP_FLAGS:
                self.aging.close(record, event.tcp_flags)
        await self.table.ring.sent()

    # --- one packet -----------------------------------------------------------------------------

    async def _serve(self, descriptor, frame):
        """Every packet that was counted goes back exactly once, if only to be dropped."""
        self.counters.served += 1
        leaving = _Leaving(descriptor, frame, spec.Verdict.DROP)
        if descriptor.reason in _DECIDES:
            await self._decide(leaving)
        else:
            self.counters.drop(spec.Reason(descriptor.reason).name)
            if descriptor.reason == spec.Reason.TTL:
                await self._answers.time_exceeded(descriptor, frame)
        self._leaving.append(leaving)

    async def _leave(self, *, wait=False):
        """Let packets go whose commands are completed, in order; with ``wait`` all of them."""
        while self._leaving and (wait or self._leaving[0].ready):
            leaving = self._leaving.popleft()
            for ticket in leaving.tickets:
                await self.table.ring.wait(ticket)
            if leaving.inserts and not await self.rows.settle(*leaving.inserts):
                self.counters.drop("NO_ROW")
                leaving.verdict = spec.Verdict.DROP
            descriptor = leaving.descriptor
            if leaving.verdict == spec.Verdict.LOOKUP:
                self.counters.looked_up += 1
            if descriptor is not None and (leaving.verdict == spec.Verdict.LOOKUP
                                           or descriptor.counted):
                await self._inject(
                    leaving.frame, verdict=leaving.verdict, direction=descriptor.direction,
                    counted=descriptor.counted, order_slot=descriptor.order_slot,
                    function_id=descriptor.function_id)

    def _watch(self, ticket):
        """No packet waits for ``ticket``, but a failure must be seen."""
        self._leaving.append(_Leaving(None, b"", spec.Verdict.DROP, tickets=(ticket,)))

    async def _inject(self, frame, **fields):
        head = pack(spec.InjectDescriptor, {"length": len(frame), **fields})
        await self.port.inject(head + frame)

    async def _decide(self, leaving):
        """Says in ``leaving`` what becomes of its packet, and which commands it waits for."""
        descriptor, frame = leaving.descriptor, leaving.frame
        key_octets = key_of_exception(descriptor)
        record = self.book.by_key.get(key_octets)
        if record is not None:
            leaving.verdict = spec.Verdict.LOOKUP
            if descriptor.reason == spec.Reason.GENERATION and not self._is_fresh(record):
                leaving.tickets = (self._refresh(record),)
            return
        if await self._answers.lease(descriptor, frame):
            return
        flow = flow_of_key(descriptor.key)
        if flow is None or flow.destination.is_multicast:
            await self._answers.talk(descriptor, frame)
            return
        leaving.inserts = await self._new_flow(key_octets, flow)
        if leaving.inserts:
            leaving.verdict = spec.Verdict.LOOKUP

    async def _answer(self, descriptor, frame):
        """Send a frame of our own to whom the exception came from."""
        await self._inject(frame, verdict=spec.Verdict.FORWARD, direction=spec.Direction.WIRE,
                           destination=spec.DestinationKind.FUNCTION,
                           destination_function=descriptor.function_id)

    # --- flows ----------------------------------------------------------------------------------

    def evaluate(self, flow):
        """The decision for ``flow`` by the policy as it is now; connections are remembered."""
        decision = evaluate(flow, self.network.layers_of, receiver_of=self.network.receiver_of,
                            established=self.connections)
        self.counters.decided += 1
        for function_id, key in decision.connections:
            self.connections.remember(function_id, key)
        return decision

    def _entry(self, flow, decision):
        owner = decision.owners[0]
        current, _ = self.generations.get(owner, (0, 0))
        stamp = Stamp(owner=owner, generation=current)
        return entry_of_decision(flow, decision, stamp, template_of=self.network.template_of)

    async def _other_direction(self, record):
        """Decide the replies to ``record`` now, and put them into the table beside it.

        The row counts against who opened the connection: nobody fills another's quota. What comes
        of it is what the replies' first packet would be told anyway.
        """
        flow = record.decision.reply_to(record.flow)
        key = pack(spec.Key, key_of_flow(flow))
        decision = self.evaluate(flow) if key not in self.book.by_key else None
        if decision is None or decision.verdict == Verdict.DROP or not decision.owners:
            return None
        insert = await self.rows.insert(key, flow, decision, self._entry(flow, decision),
                                        payer=record.payer, keep=record)
        if insert is not None:
            record.pair, insert.record.pair = insert.record, record
        return insert

    async def _new_flow(self, key, flow):
        """Post a flow, with ``pairs`` both ways: the inserts; none if it gets no row."""
        decision = self.evaluate(flow)
        if not decision.owners:
            # From the wire, and for nobody: it gets no row, so that the wire cannot fill the table.
            self.counters.drop("NO_RECEIVER")
            return ()
        # Outbound the sender pays for the row, inbound the receiver.
        insert = await self.rows.insert(key, flow, decision, self._entry(flow, decision),
                                        payer=decision.owners[0])
        if insert is None:
            self.counters.drop("NO_ROW")
            return ()
        if self.pairs and decision.connections:
            other = await self._other_direction(insert.record)
            if other is not None:
                return insert, other
        return (insert,)

    def _is_fresh(self, record):
        return record.generation == self.generations.get(record.owner, (0, 0))[0]

    def _is_known(self, key):
        record = self.book.by_key.get(key)
        return record is not None and self._is_fresh(record)

    async def refresh(self, record):
        """Decide a flow again, in place."""
        if self.book.by_handle.get(record.handle) is record:
            await self.table.ring.wait(self._refresh(record))

    def _refresh(self, record):
        decision = self.evaluate(record.flow)
        if not decision.owners or decision.owners[0] != record.owner:
            return self.rows.post_remove(record)
        entry = self._entry(record.flow, decision)
        record.decision, record.generation = decision, entry["generation"]
        self.counters.updated += 1
        return self.table.post_update(entry, handle=record.handle)

    # --- policy has changed ---------------------------------------------------------------------

    async def bump(self, function_id, *, hard):
        """The policy of ``function_id`` changed: no flow that asked it is fresh any more.

        Soft: flows go on by the old action until they are decided again. Hard: they are denied
        until then, and replies to what was let through before must be allowed anew. Flows that
        other functions own and that end here are of the sender's generation: theirs moves too.
        """
        owners = {function_id} | {r.owner for r in self.book.touching(function_id)}
        if hard:
            self.connections.forget(function_id)
        for owner in sorted(owners):
            current, oldest = self.generations.get(owner, (0, 0))
            current = (current + 1) & 0xFFFF
            # Ages are told apart by a signed difference: none may grow over half of the circle.
            oldest = current if hard else oldest
            if (current - oldest) & 0xFFFF > _OLDEST:
                oldest = (current - _OLDEST) & 0xFFFF
            self.generations[owner] = (current, oldest)
            await self.table.set_generation(owner, current=current, hard=oldest)
            for record in self.book.of_owner(owner):
                if (current - record.generation) & 0xFFFF > _OLDEST:
                    await self.rows.remove(record)

    async def set_quota(self, function_id, rows):
        """Rows that a function may have, 0 for the quota of all; its eldest flows go if need be."""
        self.book.quotas.pop(function_id, None)
        if rows:
            self.book.quotas[function_id] = rows
        over = self.book.count(function_id) - self.book.quota_of(function_id)
        for record in self.book.of_payer(function_id)[:max(0, over)]:
            await self.rows.remove(record)

    async def forget_function(self, function_id):
        """A function is gone: so are its flows, both ways, and its connections."""
        for record in self.book.touching(function_id):
            await self.rows.remove(record)
        self.connections.forget(function_id)
