"""The one management port of the card, steered to its houses."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .ports import MANAGEMENT_BURST, ManagementPort
from .spec_card import HOUSE_SHIFT, HOUSES

__all__ = ["ManagementSteer"]


class ManagementSteer(wiring.Component):
    """Hand each request to the house that address bits 19:16 name; hand its reply back.

    Every request is answered once, in order: a house that is not there is answered with ``error``,
    and so is one that stays silent for 64 cycles, the promise of the port. A reply that comes
    later, or from a house that was not asked, is swallowed. A request to a second house while the
    first owes replies reaches nobody; its ``error`` comes after them.

    Timing
    ------
    2 cycles on top of the house's own; one request a cycle to one house.

    Parameters
    ----------
    config : CardConfig
        The card; the port's shape does not depend on it.

    Members
    -------
    management : ``In(ManagementPort())``
        The card's processor.
    houses : ``Out(ManagementPort()).array(5)``
        The houses, by number.
    """

    patience = 64  # cycles

    def __init__(self, config=None):
        super().__init__({
            "management": In(ManagementPort()),
            "houses":     Out(ManagementPort()).array(HOUSES),
        })

    def elaborate(self, platform):
        m = Module()

        requests, replies = self.management.requests, self.management.replies
        house  = Signal(range(HOUSES + 1))
        asked  = Signal(range(HOUSES + 1))
        owed   = Signal(range(MANAGEMENT_BURST + 1))  # replies
        left   = Signal(range(self.patience + 1))

        # Requests: one register, then to the house.
        number = requests.p.address[HOUSE_SHIFT:]
        m.d.comb += asked.eq(Mux(number < HOUSES, number, HOUSES))
        for index, port in enumerate(self.houses):
            m.d.sync += [
                port.requests.valid.eq(requests.valid & (number == index)
                                       & ((owed == 0) | (house == index))),
                port.requests.payload.eq(requests.payload),
            ]

        # Replies: of the house that was asked, or ours.
        answered = Signal()
        reply    = Signal.like(replies.payload)
        m.d.comb += reply.error.eq(1)
        with m.Switch(house):
            for index, port in enumerate(self.houses):
                with m.Case(index):
                    m.d.comb += [answered.eq(port.replies.valid),
                                 reply.eq(port.replies.payload)]
            with m.Default():
                m.d.comb += answered.eq(1)
        silent = Signal()
        ends   = Signal()
        m.d.comb += [silent.eq(left == 0), ends.eq((owed != 0) & (answered | silent))]
        m.d.sync += [replies.valid.eq(ends), owed.eq(owed + requests.valid - ends)]
        with m.If(ends):
            m.d.sync += replies.payload.eq(reply)
            with m.If(~answered):
                m.d.sync += [replies.p.error.eq(1), replies.p.data.eq(0)]
        with m.If(ends | (owed == 0)):
            m.d.sync += left.eq(self.patience)
        with m.Else():
            m.d.sync += left.eq(left - 1)
        with m.If(requests.valid & (owed == 0)):
            m.d.sync += house.eq(asked)

        return m
