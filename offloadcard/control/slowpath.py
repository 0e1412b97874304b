"""The slow path: what the flow table does not know is decided here, once.

Each exception waits for one of the processor's cores, is served for a stated time, and is then
decided: the layers are evaluated, the flow is put into the table, and the packet goes back to be
looked up. Functions take turns, and packets of one order slot are served one after the other.
"""

from dataclasses import dataclass, field

from ..gft import spec
from ..rtl.octets import pack, size_of, unpack
from . import dhcp, icmp_error, neighbour
from .aging import Aging
from .encode import Stamp, entry_of_decision, flow_of_key, key_of_exception, key_of_flow
from .flow import Verdict
from .flow_book import Connections, FlowBook, FlowRecord
from .policy import evaluate
from .ports import Mutex
from .scheduler import Scheduler

__all__ = ["SlowPathCounters", "SlowPath"]

_OLDEST = 0x3FFF  # generations that an entry may be behind before it is taken out
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
        self._rows       = Mutex(port)  # which flow stands in which row, here and in the card
        self._stopping   = False
        self.parameters  = {"cores": cores, "service_ns": service_ns, "known_ns": known_ns,
                            "epoch_ns": epoch_ns, "idle_epochs": idle_epochs,
                            "linger_ns": linger_ns, "quota": self.book.quota, "pairs": pairs}
        self.aging       = Aging(self, epoch_ns=epoch_ns, idle_epochs=idle_epochs,
                                 linger_ns=linger_ns)

    # --- the loop -------------------------------------------------------------------------------

    async def run(self):
        """Serve until :meth:`stop`; start it once, as a task of whatever schedules us."""
        looked = self.port.now_ns()
        while not self._stopping:
            now  = self.port.now_ns()
            wait = self.idle_ns
            done = self.scheduler.next_done()
            if done is not None:
                wait = max(0, min(wait, done - now))
            packet = await self.port.receive(wait)
            now = self.port.now_ns()
            if packet is not None:
                self._admit(packet, now)
            while (served := self.scheduler.take(now)) is not None:
                await self._serve(*served)
                now = self.port.now_ns()
            if now - looked >= self.idle_ns:
                looked = now
                await self.serve_events()
                await self.aging.step(now)
            elif self.aging.busy:
                await self.aging.step(now)

    def stop(self):
        """Let :meth:`run` return."""
        self._stopping = True

    def resume(self):
        """:meth:`run` may be started again."""
        self._stopping = False

    @property
    def waiting(self):
        """Packets that wait for a core, or are being served."""
        return len(self.scheduler)

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
                    await self.refresh(record)
            elif event.kind == spec.EventKind.TCP_FLAGS:
                await self.aging.close(record, event.tcp_flags)

    # --- one packet -----------------------------------------------------------------------------

    async def _serve(self, descriptor, frame):
        """Every packet that was counted goes back exactly once, if only to be dropped."""
        self.counters.served += 1
        verdict = spec.Verdict.DROP
        if descriptor.reason in _DECIDES:
            verdict = await self._decide(descriptor, frame)
        else:
            self.counters.drop(spec.Reason(descriptor.reason).name)
            if descriptor.reason == spec.Reason.TTL:
                await self._time_exceeded(descriptor, frame)
        if verdict == spec.Verdict.LOOKUP:
            self.counters.looked_up += 1
        if verdict == spec.Verdict.LOOKUP or descriptor.counted:
            await self._inject(frame, verdict=verdict, direction=descriptor.direction,
                               counted=descriptor.counted, order_slot=descriptor.order_slot,
                               function_id=descriptor.function_id)

    async def _inject(self, frame, **fields):
        head = pack(spec.InjectDescriptor, {"length": len(frame), **fields})
        await self.port.inject(head + frame)

    async def _decide(self, descriptor, frame):
        key_octets = key_of_exception(descriptor)
        record = self.book.by_key.get(key_octets)
        if record is not None:
            if descriptor.reason == spec.Reason.GENERATION and not self._is_fresh(record):
                await self.refresh(record)
            return spec.Verdict.LOOKUP
        if await self._lease(descriptor, frame):
            return spec.Verdict.DROP
        flow = flow_of_key(descriptor.key)
        if flow is None or flow.destination.is_multicast:
            return await self._talk(descriptor, frame)
        return await self._new_flow(key_octets, flow)

    async def _time_exceeded(self, descriptor, frame):
        """Tell the guest that its packet ended at its network's router."""
        told = icmp_error.sender_of(frame)
        if descriptor.direction != spec.Direction.GUEST or told is None:
            return
        router = self.network.router_of(descriptor.function_id, told)
        if router is None:
            return
        address, mac = router
        self.counters.told += 1
        await self._answer(descriptor, icmp_error.time_exceeded(frame, router=address,
                                                                router_mac=mac))

    async def _answer(self, descriptor, frame):
        """Send a frame of our own to whom the exception came from."""
        await self._inject(frame, verdict=spec.Verdict.FORWARD, direction=spec.Direction.WIRE,
                           destination=spec.DestinationKind.FUNCTION,
                           destination_function=descriptor.function_id)

    async def _talk(self, descriptor, frame):
        """What is no flow: the card answers questions for addresses, and drops the rest."""
        asked = neighbour.question(frame)
        if asked is None or descriptor.direction != spec.Direction.GUEST:
            self.counters.drop("NOT_A_FLOW")
            return spec.Verdict.DROP
        mac = self.network.mac_of(descriptor.function_id, *asked)
        if mac is None:
            self.counters.drop("UNKNOWN_NEIGHBOUR")
            return spec.Verdict.DROP
        self.counters.answered += 1
        await self._answer(descriptor, neighbour.answer(frame, mac))
        return spec.Verdict.DROP

    async def _lease(self, descriptor, frame):
        """Was it DHCP of a port that has a lease? Then it is answered, and no flow."""
        asked = dhcp.question(frame)
        if asked is None or descriptor.direction != spec.Direction.GUEST:
            return False
        found = self.network.lease_of(descriptor.function_id, asked.mac)
        if found is None:
            return False
        address, lease, mac = found
        told = dhcp.answer(frame, address, lease, mac=mac)
        if told is not None:
            self.counters.leased += 1
            await self._answer(descriptor, told)
        return True

    # --- flows ----------------------------------------------------------------------------------

    def evaluate(self, flow):
        """The decision for ``flow`` by the policy as it is now; connections are remembered."""
        decision = evaluate(flow, self.network.layers_of, receiver_of=self.network.receiver_of,
                            established=self.connections)
        self.counters.decided += 1
        for function_id, key in decision.connections:
            self.connections.remember(function_id, key)
        return decision

    def _entry(self, flow, decision, owner):
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
            return
        owner = decision.owners[0]
        entry = self._entry(flow, decision, owner)
        if await self._insert(key, flow, decision, owner, entry, payer=record.payer,
                              keep=record):
            record.pair = self.book.by_key[key]
            record.pair.pair = record

    async def _new_flow(self, key, flow):
        decision = self.evaluate(flow)
        if not decision.owners:
            # From the wire, and for nobody: it gets no row, so that the wire cannot fill the table.
            self.counters.drop("NO_RECEIVER")
            return spec.Verdict.DROP
        # Outbound the sender pays for the row, inbound the receiver.
        owner = decision.owners[0]
        entry = self._entry(flow, decision, owner)
        async with self._rows:
            if await self._insert(key, flow, decision, owner, entry, payer=owner):
                if self.pairs and decision.connections:
                    await self._other_direction(self.book.by_key[key])
                return spec.Verdict.LOOKUP
        self.counters.drop("NO_ROW")
        return spec.Verdict.DROP

    async def _insert(self, key, flow, decision, owner, entry, *, payer, keep=None):
        """Put a flow into a row, tried twice if the card has no place for its hash at first.

        ``keep`` is a record that does not go for it.
        """
        for _ in range(2):
            victim = self.book.victim(payer)
            if victim is not None and victim is keep:
                return False
            if victim is not None:
                await self._evict(victim)
            handle = self.book.take()
            if handle is None:
                return False
            status, _ = await self.table.insert(key, entry, handle=handle)
            if status == spec.Status.OK:
                self.counters.inserted += 1
                self.book.add(FlowRecord(handle, key, flow, decision, owner, entry["generation"],
                                         payer))
                return True
            self.book.give_back(handle)
            own = self.book.of_payer(payer)
            if status != spec.Status.FULL or not own or own[0] is keep:
                return False
            await self._evict(own[0])
        return False

    async def _evict(self, record):
        self.counters.evicted += 1
        await self._remove(record)

    async def _remove(self, record):
        """Take a flow out; its row is given again only when the card has let go of it."""
        if self.book.by_handle.get(record.handle) is record:
            self.book.remove(record)
            await self.table.delete(handle=record.handle)
            self.book.give_back(record.handle)

    async def expire(self, handle, *, epoch):
        """Take the first flow from row ``handle`` out that no packet has met since ``epoch``; its
        row, or ``None`` if there is none."""
        async with self._rows:
            found = await self.table.expire_from(handle, epoch=epoch)
            record = self.book.by_handle.get(found)
            if record is not None:
                self.book.remove(record)
                self.book.give_back(found)
        return found

    async def remove(self, record):
        """Take a flow out of the table; its next packet is decided anew."""
        async with self._rows:
            await self._remove(record)

    def _is_fresh(self, record):
        return record.generation == self.generations.get(record.owner, (0, 0))[0]

    def _is_known(self, key):
        record = self.book.by_key.get(key)
        return record is not None and self._is_fresh(record)

    async def refresh(self, record):
        """Decide a flow again, in place."""
        async with self._rows:
            if self.book.by_handle.get(record.handle) is not record:
                return  # it went while we waited: the row may be another's
            decision = self.evaluate(record.flow)
            if not decision.owners or decision.owners[0] != record.owner:
                await self._remove(record)
                return
            entry = self._entry(record.flow, decision, record.owner)
            record.decision, record.generation = decision, entry["generation"]
            self.counters.updated += 1
            await self.table.update(entry, handle=record.handle)

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
                    await self.remove(record)

    async def set_quota(self, function_id, rows):
        """Rows that a function may have, 0 for the quota of all; its eldest flows go if need be."""
        self.book.quotas.pop(function_id, None)
        if rows:
            self.book.quotas[function_id] = rows
        over = self.book.count(function_id) - self.book.quota_of(function_id)
        for record in self.book.of_payer(function_id)[:max(0, over)]:
            await self.remove(record)

    async def forget_function(self, function_id):
        """A function is gone: so are its flows, both ways, and its connections."""
        for record in self.book.touching(function_id):
            await self.remove(record)
        self.connections.forget(function_id)
