"""The header pipeline's end: a decision becomes what the buffer reads and the egress writes."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .decide import KIND_DROP, KIND_EXCEPTION, KIND_FORWARD
from .records import EXIT_SLOW, EXIT_WIRE, PATCH_OCTETS, read_job, side_band, write_job
from .spec import DESCRIPTOR_OCTETS, ExceptionDescriptor
from .transpose import shape_of_packet

__all__ = ["Finish", "decided", "LATENCY"]

LATENCY = 3


def decided(*, cell_width):
    """A packet with its last word."""
    return data.StructLayout({
        "valid":      1,
        "wire":       1,
        "kind":       2,
        "exit":       2,
        "function":   12,  # destination
        "side":       side_band(),
        "handle":     cell_width,
        "cells":      8,
        "packet":     shape_of_packet(),
        "patch":      8 * PATCH_OCTETS,
        "mask":       PATCH_OCTETS,
        "descriptor": ExceptionDescriptor,
    })


class Finish(wiring.Component):
    """Say which beats to fetch, how far to turn them, and what to write over them.

    An exception leaves as it came, its descriptor before it as patched octets.

    Timing
    ------
    Latency 3 cycles, one packet per cycle, never stalls.

    Parameters
    ----------
    data_width, cell_width, function_id_width : int
        Widths.

    Members
    -------
    i : ``In(decided(...))``
        A decision.
    reads, writes : ``Out(read_job(...))``, ``Out(write_job(...))``
        The jobs, 3 cycles later.
    valid, wire, drops : ``Out(1)``
        With them: there is one, its lane, and it is only to be read away.
    """

    # What a mutant changes: the destination is the entry's.
    _keeps_destination = True

    def __init__(self, *, data_width, cell_width, function_id_width):
        self.data_width        = data_width
        self.function_id_width = function_id_width
        super().__init__({
            "i":      In(decided(cell_width=cell_width)),
            "reads":  Out(read_job(cell_width=cell_width, data_width=data_width)),
            "writes": Out(write_job(data_width=data_width, function_id_width=function_id_width)),
            "valid":  Out(1),
            "wire":   Out(1),
            "drops":  Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        lanes = self.data_width // 8
        shift = lanes.bit_length() - 1
        i     = self.i

        # Cycle 0: which octets.
        slow = Signal()
        m.d.comb += slow.eq(i.kind == KIND_EXCEPTION)
        packet = Signal(shape_of_packet())
        with m.If(slow):
            m.d.comb += [packet.start.eq(0), packet.at.eq(DESCRIPTOR_OCTETS),
                         packet.end.eq(i.side.length),
                         packet.length.eq(i.side.length + DESCRIPTOR_OCTETS)]
        with m.Else():
            m.d.comb += packet.eq(i.packet)
        packet_1 = Signal.like(packet)
        valid_1, wire_1, drops_1 = Signal(), Signal(), Signal()
        writes_1, reads_1 = Signal.like(self.writes), Signal.like(self.reads)
        m.d.sync += [
            packet_1.eq(packet),
            valid_1.eq(i.valid), wire_1.eq(i.wire), drops_1.eq(i.kind == KIND_DROP),
            reads_1.handle.eq(i.handle), reads_1.cells.eq(i.cells),
            writes_1.patch.eq(Mux(slow, i.descriptor.as_value(), i.patch)),
            writes_1.mask.eq(Mux(slow, (1 << DESCRIPTOR_OCTETS) - 1, i.mask)),
            writes_1.exit.eq(Mux(slow, EXIT_SLOW, i.exit)),
            writes_1.function_id.eq(Mux((i.kind == KIND_FORWARD) & (i.exit != EXIT_WIRE)
                                        & self._keeps_destination,
                                        i.function, i.side.function_id)),
            writes_1.port.eq(i.wire),
        ]

        # Cycle 1: which beats.
        start, at = packet_1.start, packet_1.at
        first, behind = Signal(8), Signal(14)
        take, ahead   = Signal(14), Signal()
        rotate = Signal(shift)
        m.d.comb += [
            first.eq(start >> shift),
            behind.eq((packet_1.end + (lanes - 1)) >> shift),
            take.eq(Mux(drops_1 | (packet_1.end <= start), 0, behind - first)),
            rotate.eq(at[:shift] - start[:shift]),
            ahead.eq((at[:shift] < start[:shift]) & (take != 0)),
        ]
        reads_2, writes_2 = Signal.like(self.reads), Signal.like(self.writes)
        valid_2, wire_2 = Signal(), Signal()
        m.d.sync += [
            valid_2.eq(valid_1), wire_2.eq(wire_1), reads_2.eq(reads_1), writes_2.eq(writes_1),
            reads_2.skip.eq(first), reads_2.take.eq(take), reads_2.rotate.eq(rotate),
            reads_2.drops.eq(drops_1),
            writes_2.take.eq(take), writes_2.rotate.eq(rotate),
            writes_2.lead.eq(at >> shift), writes_2.ahead.eq(ahead),
            writes_2.beats.eq((packet_1.length + (lanes - 1)) >> shift),
            writes_2.length.eq(packet_1.length),
        ]

        # Cycle 2: what follows from the numbers.
        m.d.sync += [
            self.valid.eq(valid_2), self.wire.eq(wire_2), self.drops.eq(reads_2.drops),
            self.reads.eq(reads_2), self.writes.eq(writes_2),
            self.reads.reads.eq(reads_2.take != 0), self.reads.one.eq(reads_2.take == 1),
            self.reads.one_cell.eq(reads_2.cells == 1),
            self.writes.reads.eq(reads_2.take != 0), self.writes.one.eq(reads_2.take == 1),
            self.writes.leads.eq(writes_2.lead != 0),
            self.writes.one_beat.eq(writes_2.beats == 1),
        ]

        return m
