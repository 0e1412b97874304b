"""Which flow stands in which row: the book and the card's table, changed together.

Commands take effect in the order in which they are posted, so the book is changed at once, and a
row that a posted command frees may be given to a flow that is posted after it.
"""

from dataclasses import dataclass

from ..gft.spec import Status
from .command_ring import Ticket
from .flow_book import FlowRecord

__all__ = ["Insert", "FlowRows"]


@dataclass
class Insert:
    """A row that was taken, and the command that fills it; ``keep`` does not go for it."""
    record: FlowRecord
    entry:  dict
    ticket: Ticket
    keep:   FlowRecord | None = None


class FlowRows:
    """Posts inserts and deletes of the flows of ``book`` to ``table``.

    ``counters`` has ``inserted`` and ``evicted``; ``watch(ticket)`` looks after a command for which
    nobody waits, and ``drain()`` lets all packets go whose flows were posted.
    """

    def __init__(self, table, book, counters, *, watch, drain):
        self.table    = table
        self.book     = book
        self.counters = counters
        self._watch   = watch
        self._drain   = drain

    async def insert(self, key, flow, decision, entry, *, payer, keep=None):
        """Post the insert of a flow into a row of its own; ``None`` if there is none.

        ``entry`` bears the generation by which was decided; ``keep`` is a record that does not go
        for it.
        """
        victim = self.book.victim(payer)
        if victim is not None and victim is keep:
            return None
        if victim is not None and victim.open:
            await self._drain()  # its packet finds it before it goes
        if victim is not None:
            self.evict(victim)
        handle = self.book.take()
        if handle is None:
            return None
        record = FlowRecord(handle, key, flow, decision, decision.owners[0], entry["generation"],
                            payer)
        return Insert(record, entry, self._post(record, entry), keep)

    def _post(self, record, entry):
        ticket = self.table.post_insert(record.key, entry, handle=record.handle)
        record.number, record.open = ticket.number, True
        self.book.add(record)
        return ticket

    async def settle(self, first, other=None):
        """Did ``first`` get its row? What was not inserted is forgotten, ``other`` with it."""
        done, rest = await self._end(first), other is not None and await self._end(other)
        if rest and not done:
            self.drop(other.record)
        if not (done and rest):
            first.record.pair = None
        return done

    async def _end(self, insert):
        """Was it inserted? If the card had no place for its hash, its payer's eldest flow goes and
        it is tried once more."""
        record, book = insert.record, self.book
        for again in (True, False):
            status, _ = await self.table.ring.wait(insert.ticket)
            record.open = False
            if status == Status.OK:
                self.counters.inserted += 1
                return True
            if book.by_handle.get(record.handle) is not record:
                return False  # it was taken out meanwhile
            book.remove(record)
            book.give_back(record.handle)
            own = next(iter(book.of_payer(record.payer)), None)
            if not again or status != Status.FULL or own is None or own is insert.keep or own.open:
                return False
            self.evict(own)
            record.handle = book.take()
            insert.ticket = self._post(record, insert.entry)
        return False

    def evict(self, record):
        """Post that a flow goes for another."""
        ticket = self.post_remove(record)
        if ticket is not None:
            self.counters.evicted += 1
            self._watch(ticket)

    def drop(self, record):
        """Post that a flow goes; its next packet is decided anew."""
        ticket = self.post_remove(record)
        if ticket is not None:
            self._watch(ticket)

    def post_remove(self, record):
        """As :meth:`drop`, for who waits for the ticket; ``None`` if it went before."""
        if self.book.by_handle.get(record.handle) is not record:
            return None
        self.book.remove(record)
        self.book.give_back(record.handle)
        return self.table.post_delete(handle=record.handle)

    async def remove(self, record):
        """Take a flow out; the card has let go of it when this returns."""
        ticket = self.post_remove(record)
        if ticket is not None:
            await self.table.ring.wait(ticket)

    async def expire(self, handle, *, epoch):
        """Take the first flow from row ``handle`` out that no packet has met since ``epoch``; its
        row, or ``None`` if there is none."""
        ticket = self.table.post_expire(handle, epoch=epoch)
        status, found = await self.table.ring.wait(ticket)
        if status != Status.OK:
            return None
        record = self.book.by_handle.get(found)
        if record is not None and record.number < ticket.number:  # else it has the row since then
            self.book.remove(record)
            self.book.give_back(found)
        return found
