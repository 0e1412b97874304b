"""Counters of the requester, for the card's own processor."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import ManagementPort
from .spec import MANAGEMENT

__all__ = ["DmaRegisters", "EVENTS"]

# Registers that count, by the name of their event.
EVENTS = {"read_requests": "READ_REQUESTS", "read_tlps": "READ_TLPS", "writes": "WRITES",
          "write_tlps": "WRITE_TLPS", "refused_writes": "REFUSED_WRITES",
          "unexpected": "UNEXPECTED", "malformed": "MALFORMED", "poisoned": "POISONED",
          "aborted": "ABORTED", "timed_out": "TIMED_OUT"}


class DmaRegisters(wiring.Component):
    """``spec.MANAGEMENT`` as registers, and a way past it to the rest of the house.

    Timing
    ------
    A reply 2 cycles after its request. One event of each kind per cycle.

    Parameters
    ----------
    tags : int
        Number of tags.

    Members
    -------
    management : ``In(ManagementPort())``
        The house's registers.
    front : ``Out(ManagementPort())``
        Those below 0x8000.
    events : ``In(len(EVENTS))``
        Something happened, in the order of ``EVENTS``.
    free_tags : ``In(range(tags + 1))``
        For the register of this name.
    """

    def __init__(self, *, tags):
        super().__init__({
            "management": In(ManagementPort()),
            "front":      Out(ManagementPort()),
            "events":     In(len(EVENTS)),
            "free_tags":  In(range(tags + 1)),
        })

    def elaborate(self, platform):
        m = Module()

        values = {MANAGEMENT["FREE_TAGS"].offset: self.free_tags,
                  MANAGEMENT["DMA_ID"].offset: Const(MANAGEMENT["DMA_ID"].reset, 64)}
        for event, name in zip(self.events, EVENTS.values()):
            count = Signal(MANAGEMENT[name].width, name=name.lower())
            m.d.sync += count.eq(count + event)
            values[MANAGEMENT[name].offset] = count

        requests, replies = self.management.requests, self.management.replies
        own   = Signal()
        valid = Signal()
        reply = Signal.like(replies.payload)
        m.d.comb += [
            own.eq(requests.p.address[15]),
            self.front.requests.payload.eq(requests.payload),
            self.front.requests.valid.eq(requests.valid & ~own),
        ]
        m.d.sync += [valid.eq(requests.valid & own), reply.data.eq(0), reply.error.eq(0)]
        with m.Switch(requests.p.address[:16]):
            for offset, value in values.items():
                with m.Case(offset):
                    m.d.sync += [reply.data.eq(value), reply.error.eq(requests.p.write)]
            with m.Default():
                m.d.sync += reply.error.eq(1)
        # One request is outstanding, so the two never answer at once.
        m.d.sync += [
            replies.valid.eq(valid | self.front.replies.valid),
            replies.payload.eq(Mux(valid, reply, self.front.replies.payload)),
        ]

        return m
