"""Commands of the flow table's engine: many under way at once, completions matched in order."""

from collections import deque

from ..gft.spec import Status
from .ports import ManagementError, Mutex

__all__ = ["FlowTableError", "Ticket", "CommandRing"]

BURST = 31  # accesses that may follow each other without waiting
REAPS = 3   # completions and events that one burst takes, of each kind; an insert fits beside
LOOKS = 32  # bursts that one look for events may need


class FlowTableError(Exception):
    """The engine did not answer, or answered what it never should."""


class Ticket:
    """A command that was posted; ``done`` when the engine has completed it, or could not."""

    def __init__(self, number, opcode, handle, epoch, words):
        self.number = number  # commands take effect in this order
        self.opcode = opcode
        self.handle = handle
        self.epoch  = epoch
        self.words  = words   # register -> value that the command takes along
        self.status = None
        self.found  = None    # the row that the engine names
        self.error  = None

    @property
    def done(self):
        """Nothing will change any more."""
        return self.status is not None or self.error is not None

    def result(self):
        """Status and row; raises what went wrong on the way."""
        if self.error is not None:
            raise self.error
        return self.status, self.found


class CommandRing:
    """Posts commands in order without awaiting each; takes completions and events as they come.

    :meth:`post` only queues; each :meth:`step` is one burst of the management port: it takes the
    completions and events that the last one's ``STATUS`` promised, sends as many commands as there
    is room for, and reads ``STATUS`` anew. Keys and entries are staged in registers that keep
    their value and that nobody else writes: only words that differ from the last command's are
    written. ``places`` are those of the card's ring.
    """

    patience = 10_000  # bursts without progress before we say that the engine is dead

    def __init__(self, house, port):
        self.house    = house
        self.places   = 1
        self.events   = deque()  # taken from the card's ring, not yet asked for
        self._mutex   = Mutex(port)
        self._queue   = deque()  # tickets that were not sent
        self._flight  = deque()  # sent, completion not taken
        self._staged  = {}       # register -> value that it holds
        self._ended   = 0        # completions that wait in the card, when we looked last
        self._told    = 0        # events
        self._number  = 0
        self._idle    = 0        # steps since anything moved

    def __len__(self):
        """Commands that are not completed."""
        return len(self._queue) + len(self._flight)

    @property
    def unsent(self):
        """Commands that wait for room."""
        return len(self._queue)

    async def restart(self):
        """Nothing is under way; ``STATUS`` says how much may be."""
        async with self._mutex:
            self._staged.clear()
            await self._drain({})
            self.places = await self.house.read("STATUS") >> 8 & 0xFF or 1

    def post(self, opcode, *, handle, epoch=0, **structures):
        """Queue a command; ``structures`` are octets for ``KEY0`` … and ``ENTRY0`` …"""
        words = {f"{prefix}{at // 8}": int.from_bytes(octets[at:at + 8], "little")
                 for prefix, octets in structures.items() for at in range(0, len(octets), 8)}
        self._number += 1
        ticket = Ticket(self._number, opcode, handle, epoch, words)
        self._queue.append(ticket)
        return ticket

    async def wait(self, ticket):
        """Status and row of a ticket, when it is done."""
        while not ticket.done:
            await self.step()
        return ticket.result()

    async def sent(self, most=0):
        """Wait until at most so many commands are not sent."""
        while len(self._queue) > most:
            await self.step()

    async def look(self):
        """Take the events that wait in the card; more may come meanwhile."""
        for _ in range(LOOKS):
            await self.step()
            if not self._told:
                break

    # --- one burst ------------------------------------------------------------------------------

    async def step(self):
        """One burst; commands that it cannot carry wait for the next."""
        async with self._mutex:
            takes = self._takes()
            sends, sent = self._sends(BURST - 2 - 2 * len(takes))
            accesses, kinds = [], []
            for kind in takes:
                if kinds and kinds[-1] == kind:  # the ring moves on in the second cycle
                    accesses.append(sends.popleft() if sends else ("STATUS", None))
                accesses += [(kind, None), (f"{kind}_POP", 1)]
                kinds.append(kind)
            # Levels count what was popped in the second cycle, too.
            accesses += [*(sends or [("STATUS", None)]), ("STATUS", None)]
            try:
                values = await self.house.burst(accesses)
            except ManagementError as error:
                await self._recover(error)
                return
            moved = bool(takes or sent)
            for name, value in values:
                if name != "STATUS":
                    self._took(name, value)
            self._look(values[-1][1])
            self._idle = 0 if moved or not self._flight else self._idle + 1
            if self._idle > self.patience:
                first = self._flight[0]
                raise FlowTableError(f"{first.opcode.name} of row {first.handle} is not completed")

    def _takes(self):
        """Registers to be read and popped: completions and events in turn."""
        kinds = []
        for n in range(REAPS):
            kinds += ["COMPLETION"] * (n < self._ended) + ["EVENT"] * (n < self._told)
        return kinds

    def _sends(self, most):
        """Writes of the commands that there is room for, in at most so many accesses."""
        writes, sent = deque(), 0
        while self._queue and len(self._flight) - self._ended < self.places:
            ticket = self._queue[0]
            words = {name: word for name, word in ticket.words.items()
                     if self._staged.get(name) != word}
            if len(writes) + len(words) + 1 > most:
                break
            self._queue.popleft()
            self._flight.append(ticket)
            self._staged.update(words)
            writes += [*words.items(), ("COMMAND", {
                "opcode": ticket.opcode, "tag": ticket.number & 0xFFFF,
                "handle": ticket.handle, "epoch": ticket.epoch})]
            sent += 1
        return writes, sent

    def _look(self, status):
        self._ended, self._told = status >> 16 & 0xFF, status >> 24 & 0xFF

    def _took(self, kind, value):
        if not value.valid:
            raise FlowTableError(f"{kind} must be valid: STATUS said that one waits")
        if kind == "EVENT":
            self.events.append(value)
            return
        ticket = self._flight.popleft() if self._flight else None
        if ticket is None or value.tag != ticket.number & 0xFFFF:
            raise FlowTableError(f"completion of tag {value.tag}, not "
                                 f"{ticket and ticket.number & 0xFFFF}")
        ticket.status, ticket.found = Status(value.status), value.handle

    async def _recover(self, error):
        """An access was refused. Those behind it may have been carried out: the engine is let end
        what it has, and what it does not answer ends with ``error``."""
        self._staged.clear()
        flight, self._flight = self._flight, deque()
        sent = {ticket.number & 0xFFFF: ticket for ticket in flight}
        try:
            await self._drain(sent)
        except ManagementError as worse:
            error = worse
            self._ended = self._told = 0
        for ticket in flight:
            if not ticket.done:
                ticket.error = error

    async def _drain(self, sent):
        """Take completions until the engine has no command; they end the tickets ``{tag: …}``."""
        for _ in range(self.patience):
            status = await self.house.read("STATUS")
            self._look(status)
            if not self._ended and status >> 8 & 0xFF >= self.places:
                return
            for _ in range(self._ended):
                done = await self.house.read("COMPLETION")
                await self.house.write("COMPLETION_POP", 1)
                if (ticket := sent.get(done.tag)) is not None:
                    ticket.status, ticket.found = Status(done.status), done.handle
        raise FlowTableError("the engine does not end its commands")
