"""The management port of the house: commands, tables, counters."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import ManagementPort
from ..rtl.regbank import RegisterBank
from .spec import MANAGEMENT, Reason

__all__ = ["Registers"]


class Registers(wiring.Component):
    """``MANAGEMENT`` before the header pipeline.

    Timing
    ------
    That of :class:`~offloadcard.rtl.regbank.RegisterBank`. Counters show 2 cycles after their row
    was written.

    Parameters
    ----------
    headers : Headers
        The pipeline whose ports this drives.

    Members
    -------
    management : ``In(ManagementPort())``
        The processor.
    headers : ``Out(...)``
        The ports of that name of :class:`~.headers.Headers`, seen from here.
    lost : ``In(1).array(2)``
        A lane swallowed a packet for want of room.
    guest_enable, wire_enable : ``Out(1)``
        Directions that look up.
    """

    NAMES = ("commands", "command_room", "completions", "completed", "seed", "load", "ready",
             "events", "events_waiting", "event_lost", "epoch", "limit", "generation",
             "generation_write", "template_row", "template", "template_write", "meter_limits",
             "meter_row", "meter_write", "flow", "flow_shown", "reason", "reason_shown",
             "exceeded", "exceeded_shown")

    def __init__(self, config, headers):
        self.flows = config.gft_flows
        self.slots = 1 << headers.slot_width
        self.budget = config.gft_order_budget
        members = headers.signature.members
        super().__init__({
            "management":   In(ManagementPort()),
            **{name: members[name].flip() for name in self.NAMES},
            "lost":         In(1).array(2),
            "guest_enable": Out(1),
            "wire_enable":  Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.bank = bank = RegisterBank(MANAGEMENT)
        wiring.connect(m, wiring.flipped(self.management), bank.management)

        now, events_lost = Signal(64), Signal(64)
        m.d.sync += [now.eq(now + 1), events_lost.eq(events_lost + self.event_lost)]
        m.d.comb += [
            bank.flows.eq(self.flows), bank.order_slots.eq(self.slots),
            bank.order_budget.eq(self.budget),
            bank.status.eq(Cat(self.ready & ~bank.seed_write, C(0, 7), self.command_room,
                               self.completed, self.events_waiting)),
            bank.time.eq(now), bank.events_lost.eq(events_lost),
            self.guest_enable.eq(bank.control.guest_enable),
            self.wire_enable.eq(bank.control.wire_enable),
            self.seed.eq(bank.seed), self.load.eq(bank.seed_write),
            self.epoch.eq(bank.epoch), self.limit.eq(bank.exception_limit),
        ]

        # Commands wait here for a cycle at most: the processor sees the room that is left.
        command = self.commands.p
        m.d.comb += [
            self.commands.valid.eq(bank.command_write),
            command.command.eq(bank.command),
            command.key.as_value().eq(Cat(getattr(bank, f"key{n}") for n in range(6))),
            command.entry.as_value().eq(Cat(getattr(bank, f"entry{n}") for n in range(8))),
            self.completions.ready.eq(bank.completion_pop_write),
            self.events.ready.eq(bank.event_pop_write),
        ]
        with m.If(self.completions.valid):
            m.d.comb += bank.completion.eq(self.completions.payload)
        with m.If(self.events.valid):
            m.d.comb += bank.event.eq(self.events.payload)

        m.d.comb += [
            self.generation.eq(bank.generation), self.generation_write.eq(bank.generation_write),
            self.template.as_value().eq(Cat(getattr(bank, f"template{n}") for n in range(4))),
            self.template_row.eq(bank.template), self.template_write.eq(bank.template_write),
            self.meter_limits[0].as_value().eq(bank.meter_octets.as_value()),
            self.meter_limits[1].as_value().eq(bank.meter_packets.as_value()),
            self.meter_row.eq(bank.meter), self.meter_write.eq(bank.meter_write),
            self.flow.eq(bank.flow), self.reason.eq(bank.reason),
            self.exceeded.eq(bank.exceeded), bank.exceeded_packets.eq(self.exceeded_shown),
            bank.flow_packets.eq(self.flow_shown.count_0),
            bank.flow_octets.eq(self.flow_shown.count_1),
            bank.flow_seen.eq(self.flow_shown.stamp),
        ]
        # What never got a token is counted here.
        swallowed = [Signal(64, name=f"swallowed_{n}") for n in range(2)]
        for n in range(2):
            m.d.sync += swallowed[n].eq(swallowed[n] + self.lost[n])
        m.d.sync += bank.reason_packets.eq(
            self.reason_shown.count_0
            + Mux(bank.reason[:5] == Reason.NO_ROOM, Mux(bank.reason[5], *reversed(swallowed)), 0))

        return m
