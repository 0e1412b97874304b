"""Flows that end: those that were idle for too long, and connections that said so."""

import heapq

from ..gft.spec import TcpFlag

__all__ = ["Aging"]


class Aging:
    """Ticks the card's epoch and takes flows out of the table, a few at a time.

    The card stamps a row with the epoch of its last packet, and its engine finds and deletes the
    first idle row in one command; here is only when, and how many before the next packet is served.
    """

    def __init__(self, slowpath, *, epoch_ns, idle_epochs, linger_ns):
        self.slowpath    = slowpath
        self.epoch_ns    = epoch_ns
        self.idle_epochs = idle_epochs
        self.linger_ns   = linger_ns
        self.epoch       = 0
        self.expired     = 0  # flows taken out because they were idle
        self.closed      = 0  # because their connection ended
        self._next       = None
        self._cursor     = None  # row from which the sweep of this epoch goes on
        self._closing    = []    # heap of (due, number, record)
        self._number     = 0

    def due(self, now):
        """Is there anything to do at ``now``?"""
        return (self._cursor is not None or bool(self._closing and self._closing[0][0] <= now)
                or bool(self.epoch_ns) and (self._next is None or now >= self._next))

    async def step(self, now):
        """Do what is due at ``now``."""
        if self.epoch_ns:
            if self._next is None:
                self._next = now + self.epoch_ns
            if now >= self._next:
                self._next = max(self._next + self.epoch_ns, now)
                self.epoch = (self.epoch + 1) & 0xFFFF
                await self.slowpath.table.set_epoch(self.epoch)
                if self._cursor is None:
                    self._cursor = 0
        left = self.slowpath.expires
        while left and self._closing and self._closing[0][0] <= now:
            left -= 1
            *_, record = heapq.heappop(self._closing)
            if self.slowpath.book.by_handle.get(record.handle) is record:
                if self.slowpath.scheduler.waits(record.key):
                    self._close_at(record, now + self.linger_ns)
                    continue
                self.closed += 1
                self.slowpath.rows.drop(record)
        if self._cursor is not None:
            await self._sweep(left)
        await self.slowpath.table.ring.sent()

    async def _sweep(self, most):
        """Go on with the sweep, for ``most`` flows."""
        epoch = (self.epoch - self.idle_epochs) & 0xFFFF
        for _ in range(most):
            found = await self.slowpath.rows.expire(self._cursor, epoch=epoch)
            if found is None or found + 1 >= self.slowpath.table.flows:
                self.expired += found is not None
                self._cursor = None
                return
            self.expired += 1
            self._cursor = found + 1

    def close(self, record, flags):
        """A segment with FIN or RST passed on the flow of ``record``: it goes, and with it the
        other direction if they came together. While a packet of its own waits at the slow path it
        stays, for that would be decided anew."""
        now = self.slowpath.port.now_ns()
        due = now if flags & TcpFlag.RST else now + self.linger_ns
        for flow in (record, record.pair):
            if flow is not None and not flow.closing:
                flow.closing = True
                self._close_at(flow, due)

    def _close_at(self, flow, due):
        self._number += 1
        heapq.heappush(self._closing, (due, self._number, flow))

    async def sweep(self, *, epoch):
        """Take out at once whatever no packet has met since ``epoch``; how many that were."""
        handle, removed = 0, 0
        while handle < self.slowpath.table.flows:
            found = await self.slowpath.rows.expire(handle, epoch=epoch)
            if found is None:
                break
            removed, handle = removed + 1, found + 1
        self.expired += removed
        return removed
