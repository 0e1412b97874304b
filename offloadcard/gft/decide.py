"""The decision about each packet: forward, to the slow path, or drop, and why."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .flow_table import flow_result
from .records import EXIT_GUESTS, EXIT_WIRE, side_band
from .spec import (
    LAYER_SETS,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    DestinationKind,
    GenerationWrite,
    L3Type,
    Reason,
    Verdict,
)
from .ufid import found

__all__ = ["Want", "looked_up", "wanted", "KIND_DROP", "KIND_FORWARD", "KIND_EXCEPTION", "LATENCY"]

KIND_DROP, KIND_FORWARD, KIND_EXCEPTION = range(3)
LATENCY = 3


def looked_up(*, row_width, hash_width):
    """All that is known of a packet when the table has answered."""
    return data.StructLayout({
        "valid":  1,
        "wire":   1,
        "side":   side_band(),
        "fault":  5,
        "found":  found(),
        "result": flow_result(row_width=row_width, hash_width=hash_width),
    })


def wanted(*, slot_width):
    """What shall become of a packet, by its flow alone."""
    return data.StructLayout({
        "valid":     1,
        "kind":      2,
        "reason":    5,
        "hit":       1,
        "raw":       1,   # nothing of it changes
        "exit":      2,
        "function":  12,  # destination
        "source":    13,  # row of the exception limit: function and direction
        "slot":      slot_width,
        "injected":  1,
        "counted":   1,   # comes back from the slow path
        "metered":   1,
        "meter":     12,
        "soft":      1,   # forward, and tell
        "notify":    1,
        "tcp_flags": 3,
    })


class Want(wiring.Component):
    """What the packet's own faults, its flow's entry and the generations ask for.

    Timing
    ------
    Latency 3 cycles, one packet per cycle, never stalls.

    Parameters
    ----------
    functions : int
        Functions of the card: a destination must be one.
    function_id_width : int
        Width of ``function_id``.
    slot_width : int
        log2 of the order slots.
    row_width, hash_width : int
        As in :class:`~.flow_table.FlowTable`.

    Members
    -------
    i : ``In(looked_up(...))``
        A packet.
    oversized : ``In(1)``
        2 cycles after it: it would become too long.
    o : ``Out(wanted(...))``
        3 cycles after it.
    generation, generation_write : ``In(GenerationWrite)``, ``In(1)``
        Write a generation row.
    """

    # What a mutant changes: a hard generation denies; a flow leaves only to its own destination.
    _denies_hard = True
    # What another changes: a flow that drops is told of when its generation is soft.
    _lifts_drops = True

    def __init__(self, *, functions, function_id_width, slot_width, row_width, hash_width):
        self.functions         = functions
        self.function_id_width = function_id_width
        self.slot_width        = slot_width
        super().__init__({
            "i":                In(looked_up(row_width=row_width, hash_width=hash_width)),
            "oversized":        In(1),
            "o":                Out(wanted(slot_width=slot_width)),
            "generation":       In(GenerationWrite),
            "generation_write": In(1),
        })

    def elaborate(self, platform):
        m = Module()

        rows_width = self.function_id_width + (LAYER_SETS - 1).bit_length()
        generation_row = data.StructLayout({"current": 16, "hard": 16})
        m.submodules.generations = generations = memory.Memory(
            shape=generation_row, depth=1 << rows_width, init=[])
        w_port, r_port = generations.write_port(), generations.read_port()
        entry = self.i.result.entry
        written = self.generation
        m.d.comb += [
            w_port.addr.eq(Cat(written.layer_set, written.function_id)),
            w_port.data.current.eq(written.current), w_port.data.hard.eq(written.hard),
            w_port.en.eq(self.generation_write),
            r_port.addr.eq(Cat(entry.layer_set, entry.owner)),
        ]

        # Cycle 0: facts that need neither generation nor length.
        facts = Signal(data.StructLayout({
            "base": wanted(slot_width=self.slot_width), "generation": 16, "forwarded": 1,
            "denied": 1,  # by the entry itself
        }))
        base, forwarded, denied = self._facts(m)
        m.d.sync += [facts.base.eq(base), facts.generation.eq(entry.generation),
                     facts.forwarded.eq(forwarded), facts.denied.eq(denied)]

        # Cycle 1: the generations. Older than `hard` is hard, older than `current` is soft.
        row = r_port.data
        age, soft = Signal(16), Signal()
        m.d.comb += age.eq(facts.generation - row.hard)
        m.d.comb += soft.eq(facts.generation != row.current)
        facts_2, hard_2, soft_2 = Signal.like(facts), Signal(), Signal()
        m.d.sync += [facts_2.eq(facts), hard_2.eq(age[15] & self._denies_hard), soft_2.eq(soft)]

        # Cycle 2: all together.
        base, o = facts_2.base, self.o
        m.d.sync += [
            o.eq(base),
            o.soft.eq(soft_2 & (facts_2.forwarded | facts_2.denied & self._lifts_drops)),
            o.notify.eq(base.notify & facts_2.forwarded),
        ]
        with m.If(base.kind == KIND_FORWARD):
            with m.If(facts_2.forwarded & hard_2):
                m.d.sync += [o.kind.eq(KIND_EXCEPTION), o.reason.eq(Reason.GENERATION)]
            with m.Elif(self.oversized):
                m.d.sync += [o.kind.eq(KIND_DROP), o.reason.eq(Reason.OVERSIZED)]
        # A flow that drops is re-evaluated, too: hard at the slow path, soft by an event.
        with m.If(facts_2.denied & hard_2):
            m.d.sync += [o.kind.eq(KIND_EXCEPTION), o.reason.eq(Reason.GENERATION)]

        return m

    def _facts(self, m):
        """Priorities among everything that the packet and its entry say."""
        i = self.i
        side, layer, entry = i.side, i.found.layer, i.result.entry
        base = Signal(wanted(slot_width=self.slot_width))
        forwarded, denied = Signal(), Signal()

        ip   = layer.l3_type != L3Type.OTHER
        ipv4 = layer.l3_type == L3Type.IPV4
        ported = (layer.protocol == PROTOCOL_TCP) | (layer.protocol == PROTOCOL_UDP)
        ttl_ends, not_editable = Signal(), Signal()
        sets_addresses = entry.set_source_address | entry.set_destination_address
        tunnel = i.found.key.tunnel
        m.d.comb += [
            ttl_ends.eq(entry.decrement_ttl & ip & (layer.ttl <= 1)),
            not_editable.eq(
                (sets_addresses | entry.set_source_port | entry.set_destination_port) & ~ipv4
                | entry.set_source_port & ~ported & ~layer.echo
                | entry.set_destination_port & ~ported
                | tunnel & ~entry.pop & entry.push),
        ]
        flagged = Signal()
        m.d.comb += flagged.eq((entry.tcp_exception & layer.tcp_flags).any() & ~side.injected)

        def drop(reason):
            m.d.comb += [base.kind.eq(KIND_DROP), base.reason.eq(reason)]

        def exception(reason):
            m.d.comb += [base.kind.eq(KIND_EXCEPTION), base.reason.eq(reason)]

        def send(kind, function):
            m.d.comb += [base.kind.eq(KIND_FORWARD), base.function.eq(function),
                         base.exit.eq(Mux(kind == DestinationKind.WIRE, EXIT_WIRE, EXIT_GUESTS))]
            with m.If((kind == DestinationKind.FUNCTION) & (function >= self.functions)):
                drop(Reason.BAD_DESTINATION)

        hash_slot = i.result.hash[:self.slot_width]
        m.d.comb += [
            base.valid.eq(i.valid),
            base.raw.eq(tunnel & ~entry.pop),
            base.source.eq(Cat(side.function_id, i.wire)),
            base.slot.eq(Mux(side.injected & side.counted, side.order_slot, hash_slot)),
            base.injected.eq(side.injected),
            base.counted.eq(side.injected & side.counted),
            base.meter.eq(entry.meter),
            base.tcp_flags.eq(layer.tcp_flags),
            base.notify.eq((entry.tcp_notify & layer.tcp_flags).any()),
        ]
        with m.If(i.fault != Reason.NONE):
            drop(i.fault)
        with m.Elif(side.injected & (side.verdict != Verdict.LOOKUP)):
            m.d.comb += base.raw.eq(1)
            with m.If(side.verdict != Verdict.FORWARD):
                drop(Reason.VERDICT)
            with m.Elif((side.destination == DestinationKind.WIRE)
                        | (side.destination == DestinationKind.FUNCTION)):
                send(side.destination, side.destination_function)
            with m.Else():
                drop(Reason.BAD_DESTINATION)
        with m.Elif(i.found.reason >= Reason.FLOW_DROP):
            drop(i.found.reason)
        with m.Elif(i.found.reason != Reason.NONE):
            exception(i.found.reason)
        with m.Elif(~i.result.hit):
            exception(Reason.MISS)
        with m.Else():
            m.d.comb += base.hit.eq(1)
            with m.If(flagged):
                exception(Reason.TCP_FLAGS)
            with m.Elif(entry.destination == DestinationKind.EXCEPTION):
                exception(Reason.ENTRY)
            with m.Elif(entry.destination == DestinationKind.DROP):
                drop(Reason.FLOW_DROP)
                m.d.comb += denied.eq(1)
            with m.Elif(ttl_ends):
                exception(Reason.TTL)
            with m.Elif(not_editable):
                exception(Reason.NOT_EDITABLE)
            with m.Else():
                send(entry.destination, entry.destination_function)
                m.d.comb += [forwarded.eq(1), base.metered.eq(entry.metered)]

        return base, forwarded, denied
