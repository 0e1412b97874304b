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
LATENCY = 2


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
        "metered":   1,   # counts against an allowance of senders
        "soft":      1,   # forward, and tell
        "notify":    1,
        "tcp_flags": 3,
    })


class Want(wiring.Component):
    """What the packet's own faults, its flow's entry and the generations ask for.

    Timing
    ------
    Latency 2 cycles, one packet per cycle, never stalls. ``o`` is not a register yet: the order
    slots are read with it.

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
        2 cycles after it, not registered.
    generation, generation_write : ``In(GenerationWrite)``, ``In(1)``
        Write a generation row.
    """

    # What a mutant changes: a hard generation denies; a flow leaves only to its own destination.
    _denies_hard = True
    # What another changes: a flow that drops is told of when its generation is soft.
    _lifts_drops = True
    # And a third: order slots belong to one function each.
    _own_slots = True

    def __init__(self, *, functions, function_id_width, slot_width, row_width, hash_width):
        if slot_width < function_id_width + 2:
            raise ValueError(f"`slot_width` must be at least {function_id_width + 2}, "
                             f"not {slot_width!r}")
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

        # Cycle 0: facts of the packet and its entry. Cycle 1: what they ask for, while the
        # generations come: older than `hard` is hard, older than `current` is soft.
        facts = self._facts(m)
        base, forwarded, denied = self._choose(m, facts)
        row = r_port.data
        age, soft = Signal(16), Signal()
        m.d.comb += [age.eq(facts.generation - row.hard),
                     soft.eq(facts.generation != row.current)]
        base_2 = Signal.like(base)
        forwarded_2, denied_2, hard_2, soft_2 = (Signal(name=name) for name in (
            "forwarded_2", "denied_2", "hard_2", "soft_2"))
        m.d.sync += [base_2.eq(base), forwarded_2.eq(forwarded), denied_2.eq(denied),
                     hard_2.eq(age[15] & self._denies_hard), soft_2.eq(soft)]

        # Cycle 2: all together. A flow that drops is decided again, too: hard at the slow path,
        # soft by an event.
        o = self.o
        m.d.comb += [
            o.eq(base_2),
            o.soft.eq(soft_2 & (forwarded_2 | denied_2 & self._lifts_drops)),
            o.notify.eq(base_2.notify & forwarded_2),
        ]
        with m.If((forwarded_2 | denied_2) & hard_2):
            m.d.comb += [o.kind.eq(KIND_EXCEPTION), o.reason.eq(Reason.GENERATION)]
        with m.Elif((base_2.kind == KIND_FORWARD) & self.oversized):
            m.d.comb += [o.kind.eq(KIND_DROP), o.reason.eq(Reason.OVERSIZED)]

        return m

    def _facts(self, m):
        """Cycle 0: each fact by itself."""
        i = self.i
        side, layer, entry = i.side, i.found.layer, i.result.entry
        facts = Signal(data.StructLayout({
            "valid": 1, "wire": 1, "fault": 5, "faulty": 1, "side": side_band(),
            "reason": 5, "tunnel": 1, "hit": 1, "entry": entry.shape(), "generation": 16,
            "slot": self.slot_width, "tcp_flags": 3, "flagged": 1, "notify": 1, "ttl_ends": 1,
            "not_editable": 1, "beyond": 1, "side_beyond": 1,
        }))
        ip   = layer.l3_type != L3Type.OTHER
        ipv4 = layer.l3_type == L3Type.IPV4
        ported = (layer.protocol == PROTOCOL_TCP) | (layer.protocol == PROTOCOL_UDP)
        sets_addresses = entry.set_source_address | entry.set_destination_address
        tunnel = i.found.key.tunnel
        # Each function has slots of its own, and the wire its half of all: nobody's packets wait
        # for what another function has at the slow path.
        bits  = self.slot_width - 1
        fresh = Signal(self.slot_width)
        own   = Cat(i.result.hash[:bits - self.function_id_width],
                    side.function_id[:self.function_id_width])
        if not self._own_slots:
            own = i.result.hash[:bits]
        m.d.comb += fresh.eq(Cat(Mux(i.wire, i.result.hash[:bits], own), i.wire))
        m.d.sync += [
            facts.valid.eq(i.valid), facts.wire.eq(i.wire), facts.side.eq(side),
            facts.fault.eq(i.fault), facts.faulty.eq(i.fault != Reason.NONE),
            facts.reason.eq(i.found.reason), facts.tunnel.eq(tunnel),
            facts.hit.eq(i.result.hit), facts.entry.eq(entry),
            facts.generation.eq(entry.generation),
            facts.slot.eq(Mux(side.injected & side.counted, side.order_slot, fresh)),
            facts.tcp_flags.eq(layer.tcp_flags),
            facts.flagged.eq((entry.tcp_exception & layer.tcp_flags).any() & ~side.injected),
            facts.notify.eq((entry.tcp_notify & layer.tcp_flags).any()),
            facts.ttl_ends.eq(entry.decrement_ttl & ip & (layer.ttl <= 1)),
            facts.not_editable.eq(
                (sets_addresses | entry.set_source_port | entry.set_destination_port) & ~ipv4
                | entry.set_source_port & ~ported & ~layer.echo
                | entry.set_destination_port & ~ported
                | tunnel & ~entry.pop & entry.push),
            facts.beyond.eq(entry.destination_function >= self.functions),
            facts.side_beyond.eq(side.destination_function >= self.functions),
        ]
        return facts

    def _choose(self, m, facts):
        """Cycle 1: priorities among everything that the packet and its entry say."""
        side, entry = facts.side, facts.entry
        base = Signal(wanted(slot_width=self.slot_width))
        forwarded, denied = Signal(), Signal()

        def drop(reason):
            m.d.comb += [base.kind.eq(KIND_DROP), base.reason.eq(reason)]

        def exception(reason):
            m.d.comb += [base.kind.eq(KIND_EXCEPTION), base.reason.eq(reason)]

        def send(kind, function, beyond):
            m.d.comb += [base.kind.eq(KIND_FORWARD), base.function.eq(function),
                         base.exit.eq(Mux(kind == DestinationKind.WIRE, EXIT_WIRE, EXIT_GUESTS))]
            with m.If((kind == DestinationKind.FUNCTION) & beyond):
                drop(Reason.BAD_DESTINATION)

        m.d.comb += [
            base.valid.eq(facts.valid),
            base.raw.eq(facts.tunnel & ~entry.pop),
            base.source.eq(Cat(side.function_id, facts.wire)),
            base.slot.eq(facts.slot),
            base.injected.eq(side.injected),
            base.counted.eq(side.injected & side.counted),
            base.tcp_flags.eq(facts.tcp_flags),
            base.notify.eq(facts.notify),
        ]
        with m.If(facts.faulty):
            drop(facts.fault)
        with m.Elif(side.injected & (side.verdict != Verdict.LOOKUP)):
            m.d.comb += base.raw.eq(1)
            with m.If(side.verdict != Verdict.FORWARD):
                drop(Reason.VERDICT)
            with m.Elif((side.destination == DestinationKind.WIRE)
                        | (side.destination == DestinationKind.FUNCTION)):
                send(side.destination, side.destination_function, facts.side_beyond)
            with m.Else():
                drop(Reason.BAD_DESTINATION)
        with m.Elif(facts.reason >= Reason.FLOW_DROP):
            drop(facts.reason)
        with m.Elif(facts.reason != Reason.NONE):
            exception(facts.reason)
        with m.Elif(~facts.hit):
            exception(Reason.MISS)
        with m.Else():
            m.d.comb += base.hit.eq(1)
            with m.If(facts.flagged):
                exception(Reason.TCP_FLAGS)
            with m.Elif(entry.destination == DestinationKind.EXCEPTION):
                exception(Reason.ENTRY)
            with m.Elif(entry.destination == DestinationKind.DROP):
                drop(Reason.FLOW_DROP)
                m.d.comb += denied.eq(1)
            with m.Elif(facts.ttl_ends):
                exception(Reason.TTL)
            with m.Elif(facts.not_editable):
                exception(Reason.NOT_EDITABLE)
            with m.Else():
                send(entry.destination, entry.destination_function, facts.beyond)
                # Whose allowance: the sender's, or that of the flow's own meter.
                m.d.comb += [forwarded.eq(1), base.metered.eq(entry.metered | ~facts.wire)]

        return base, forwarded, denied
