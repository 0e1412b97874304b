"""Interrupts of all engines: the ISR status, and the messages, in one order."""

# Ref: virtio-1.2, 4.1.4.5 (ISR status capability), 4.1.5.4 (Notification of Device Configuration)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.arbiter import Merge
from ..rtl.buffer import Buffer, Queue
from ..rtl.ports import InterruptPort
from .spec import VIRTIO_ISR_CONFIG, VIRTIO_ISR_QUEUE, VIRTIO_MSI_NO_VECTOR
from .table import Table

__all__ = ["Interrupts"]


class Interrupts(wiring.Component):
    """Set the ISR status and send the message; tell the source when it was accepted.

    A source without a vector (``NO_VECTOR``) sets the status only, and is told in its turn.

    Timing
    ------
    2 cycles an interrupt.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    count : int
        Number of sources; the last is the configuration's.

    Members
    -------
    sources : ``In(stream).array(count)``
        Function and vector.
    accepted : ``Out(1).array(count)``
        An interrupt of that source was accepted, in order.
    interrupts : ``Out(InterruptPort(...))``
        The endpoint.
    function, read : ``In``; isr : ``Out(8)``
        ``read`` for one cycle: 2 cycles later ``isr`` is what it was, and stays; now it is clear.
    """

    depth = 64  # interrupts on their way

    def __init__(self, geometry, *, count):
        self.geometry = g = geometry
        self.count    = count
        self.shape = data.StructLayout({"function_id": g.id_width, "vector": 16})
        super().__init__({
            "sources":    In(stream.Signature(self.shape)).array(count),
            "accepted":   Out(1).array(count),
            "interrupts": Out(InterruptPort(function_id_width=g.id_width)),
            "function":   In(g.row_bits),
            "read":       In(1),
            "isr":        Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.merge = merge = Merge(self.shape, count=self.count)
        m.submodules.rows  = rows  = Table(2, depth=1 << g.row_bits, readers=2)
        m.submodules.order = order = Queue(data.StructLayout({
            "source": range(self.count), "silent": 1}), depth=self.depth)
        request = self.interrupts.requests
        m.submodules.border = border = Buffer(request.payload.shape())
        wiring.connect(m, border.o, wiring.flipped(request))
        for source, port in zip(self.sources, merge.i):
            m.d.comb += [port.valid.eq(source.valid), port.payload.eq(source.payload),
                         source.ready.eq(port.ready)]

        second = Signal()
        silent = Signal()
        moves  = Signal()
        read_r = Signal()
        place  = Signal(g.row_bits)
        bits   = Signal(2)
        m.d.comb += [
            silent.eq(merge.o.p.vector == VIRTIO_MSI_NO_VECTOR),
            bits.eq(Mux(merge.index == self.count - 1, VIRTIO_ISR_CONFIG, VIRTIO_ISR_QUEUE)),
            border.i.p.function_id.eq(merge.o.p.function_id),
            border.i.p.vector.eq(merge.o.p.vector),
            border.i.valid.eq(second & merge.o.valid & ~silent & order.i.ready & ~read_r),
            moves.eq(second & merge.o.valid & order.i.ready & ~read_r
                     & (silent | border.i.ready)),
            merge.o.ready.eq(moves),
            order.i.valid.eq(moves), order.i.p.source.eq(merge.index),
            order.i.p.silent.eq(silent),
            rows.addresses[0].eq(g.row_of(merge.o.p.function_id)),
            rows.addresses[1].eq(self.function),
        ]
        m.d.sync += [second.eq(merge.o.valid & ~moves), read_r.eq(self.read),
                     place.eq(self.function)]
        # One writer: a read clears, else an interrupt sets.
        m.d.comb += [
            rows.address.eq(Mux(read_r, place, g.row_of(merge.o.p.function_id))),
            rows.row.eq(Mux(read_r, 0, rows.rows[0] | bits)),
            rows.enable.eq(read_r | moves),
        ]
        with m.If(read_r):
            m.d.sync += self.isr.eq(rows.rows[1])

        # Answers, and the silent ones in their turn.
        retire  = Signal()
        unspent = Signal(range(self.depth + 1))
        m.d.comb += retire.eq(order.o.valid & (order.o.p.silent | (unspent != 0)))
        m.d.comb += order.o.ready.eq(retire)
        m.d.sync += unspent.eq(unspent + self.interrupts.answers.valid
                               - (retire & ~order.o.p.silent))
        for number, told in enumerate(self.accepted):
            m.d.comb += told.eq(retire & (order.o.p.source == number))

        return m
