"""To the slow path and back: packets with a descriptor of 64 octets before them."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import PacketStream
from .egress import leaving_beat
from .records import entering_beat
from .spec import DESCRIPTOR_OCTETS, InjectDescriptor

__all__ = ["ExceptionQueue", "Inject"]


class ExceptionQueue(wiring.Component):
    """Hold what waits for the slow path; room was reserved before, so the input never stalls.

    Timing
    ------
    Latency 2 cycles, one beat per cycle.

    Parameters
    ----------
    data_width, function_id_width : int
        Widths.
    depth : int
        Beats that fit.

    Members
    -------
    i : ``In(stream.Signature(leaving_beat(...)))``
        Exceptions, descriptor first.
    o : ``Out(stream.Signature(leaving_beat(...)))``
        The same.
    left : ``Out(1)``
        A beat left in the cycle before: its room is free.
    """

    def __init__(self, *, data_width, function_id_width, depth):
        self.depth = depth
        self.shape = leaving_beat(data_width=data_width, function_id_width=function_id_width)
        super().__init__({"i": In(stream.Signature(self.shape)),
                          "o": Out(stream.Signature(self.shape)),
                          "left": Out(1)})

    def elaborate(self, platform):
        m = Module()

        m.submodules.store = store = memory.Memory(shape=Shape.cast(self.shape).width,
                                                   depth=self.depth, init=[])
        w_port, r_port = store.write_port(), store.read_port()
        ends = [Signal(range(self.depth), name=name) for name in ("tail", "head")]
        level = Signal(range(self.depth + 1))
        held, fetch, moves, enters = Signal(), Signal(), Signal(), Signal()

        def after(place):
            return Mux(place == self.depth - 1, 0, place + 1)

        m.d.comb += [
            # Never full: the header pipeline reserves.
            self.i.ready.eq(level != self.depth),
            enters.eq(self.i.valid & self.i.ready),
            w_port.addr.eq(ends[0]), w_port.data.eq(self.i.payload.as_value()),
            w_port.en.eq(enters),
            moves.eq(self.o.valid & self.o.ready),
            fetch.eq((level != 0) & (~held | moves)),
            r_port.addr.eq(ends[1]), r_port.en.eq(fetch),
            self.o.valid.eq(held), self.o.payload.as_value().eq(r_port.data),
        ]
        m.d.sync += [self.left.eq(moves), level.eq(level + enters - fetch)]
        with m.If(enters):
            m.d.sync += ends[0].eq(after(ends[0]))
        with m.If(fetch):
            m.d.sync += [ends[1].eq(after(ends[1])), held.eq(1)]
        with m.Elif(moves):
            m.d.sync += held.eq(0)

        return m


class Inject(wiring.Component):
    """Take the descriptor off what the slow path sends, and hand the frame to its lane.

    A packet that ends within its descriptor, or with ``error``, is swallowed.

    Timing
    ------
    Latency 1 cycle; one beat per cycle, and the descriptor's beats.

    Parameters
    ----------
    data_width, function_id_width : int
        Widths.

    Members
    -------
    i : ``In(PacketStream(...))``
        Descriptor and frame.
    o : ``Out(stream.Signature(entering_beat(...))).array(2)``
        Frames for the guests' lane, and for the wire's.
    """

    def __init__(self, *, data_width, function_id_width):
        self.data_width = data_width
        super().__init__({
            "i": In(PacketStream(data_width=data_width, function_id_width=function_id_width)),
            "o": Out(stream.Signature(entering_beat(data_width=data_width))).array(2),
        })

    def elaborate(self, platform):
        m = Module()

        beats = 8 * DESCRIPTOR_OCTETS // self.data_width
        count = Signal(range(beats + 1))
        number = Signal.like(count)
        described = Signal(8 * DESCRIPTOR_OCTETS)
        descriptor = data.View(InjectDescriptor, described)
        begun = Signal()  # a beat of the frame has gone
        slice_valid, beat = Signal(), Signal(entering_beat(data_width=self.data_width))
        lane = Signal()

        i = self.i.p
        in_descriptor = Signal()
        m.d.comb += [
            number.eq(Mux(i.first, 0, count)),
            in_descriptor.eq(number != beats),
        ]
        out_ready = Signal()
        m.d.comb += [
            out_ready.eq(Mux(lane, self.o[1].ready, self.o[0].ready)),
            self.i.ready.eq(~slice_valid | out_ready),
        ]
        for n in range(2):
            m.d.comb += [self.o[n].valid.eq(slice_valid & (lane == n)),
                         self.o[n].payload.eq(beat)]
        with m.If(out_ready):
            m.d.sync += slice_valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            with m.If(in_descriptor):
                m.d.sync += [
                    described.eq(Cat(described, i.data.as_value())[self.data_width:]),
                    count.eq(number + 1), begun.eq(0),
                ]
            with m.Else():
                side = beat.side
                m.d.sync += [
                    slice_valid.eq(1), begun.eq(1), lane.eq(descriptor.direction),
                    beat.data.eq(i.data.as_value()), beat.first.eq(~begun),
                    beat.last.eq(i.last), beat.error.eq(i.error),
                    side.length.eq(descriptor.length), side.function_id.eq(descriptor.function_id),
                    side.injected.eq(1), side.verdict.eq(descriptor.verdict),
                    side.counted.eq(descriptor.counted),
                    side.order_slot.eq(descriptor.order_slot),
                    side.destination.eq(descriptor.destination),
                    side.destination_function.eq(descriptor.destination_function),
                ]

        return m
