"""The half of the MAC that receives: whole, sound frames with their length in front."""

# Ref: ieee-802.3-2022, 4.2.4.1 (frames that a receiver discards)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .buffer import Buffer
from .packet_queue import PacketQueue
from .ports import PORT_WIRE, PacketStream
from .spec_card import FRAME_MIN, mac_beat

__all__ = ["MacReceive", "drop_reasons"]


def drop_reasons():
    """Why a frame was dropped; one bit for one cycle each."""
    return data.StructLayout({"error": 1, "runt": 1, "oversize": 1, "overrun": 1, "disabled": 1})


class MacReceive(wiring.Component):
    """Store frames until they are whole, then hand them on as packets that know their length.

    A frame is dropped, and its first reason of this order told, when reception is off, when it was
    cut, malformed (a hole inside) or its FCS was wrong, when it is over the maximum or under 60
    octets, or when the buffer has no room: the wire is never stalled.

    Timing
    ------
    A frame's first beat leaves 5 cycles after its last came in; one beat per cycle.

    Parameters
    ----------
    data_width, function_id_width : int
        Of the packet stream.
    max_frame_octets : int
        Longest frame that is handed on, without FCS.
    depth : int
        Beats of the buffer; a power of two.

    Members
    -------
    enable : ``In(1)``
        Receive.
    wire : ``In(stream.Signature(mac_beat(...), always_ready=True))``
        From the wire.
    packets : ``Out(PacketStream(...))``
        To the card; of ``meta`` only ``length`` and ``port`` are not 0.
    kept : ``Out(1)``
        A frame of ``kept_octets`` octets was kept.
    dropped : ``Out(drop_reasons())``
        Why a frame was dropped.
    """

    # What a mutant changes: a wrong FCS drops the frame.
    _heeds_error = True

    def __init__(self, *, data_width, function_id_width, max_frame_octets, depth):
        if depth * data_width // 8 < max_frame_octets:
            raise ValueError(f"`depth` must hold a frame of {max_frame_octets} octets, "
                             f"not {depth!r}")
        if max_frame_octets >= 1 << 14:
            raise ValueError(f"`max_frame_octets` must be below 16384, not {max_frame_octets!r}")
        self.lanes  = data_width // 8
        self.limit  = max_frame_octets
        self.depth  = depth
        self.beat   = mac_beat(data_width=data_width)
        self.packet = PacketStream(data_width=data_width, function_id_width=function_id_width)
        super().__init__({
            "enable":      In(1, init=1),
            "wire":        In(stream.Signature(self.beat, always_ready=True)),
            "packets":     Out(self.packet),
            "kept":        Out(1),
            "kept_octets": Out(14),
            "dropped":     Out(drop_reasons()),
        })

    def elaborate(self, platform):
        m = Module()

        valid = Signal()
        beat  = Signal(self.beat)
        m.d.sync += [valid.eq(self.wire.valid), beat.eq(self.wire.payload)]

        # The frame's octets so far; they stop at a value over every limit.
        begun    = Signal()
        before   = Signal(15)
        length   = Signal(15)
        holed    = Signal()  # a beat before this one was not full
        enabled  = Signal()
        m.d.comb += length.eq(Mux(beat.first, 0, before) + beat.valid_bytes)
        with m.If(valid):
            m.d.sync += [
                before.eq(Mux(length >= 1 << 14, 1 << 14, length)),
                begun.eq(~beat.last & (beat.first | begun)),
                holed.eq((holed & ~beat.first) | (beat.valid_bytes != self.lanes)),
            ]
            with m.If(beat.first):
                m.d.sync += enabled.eq(self.enable)

        # Second stage: the verdict, beside the queue.
        queued = data.StructLayout({"data": self.beat["data"].shape, "first": 1, "last": 1})
        m.submodules.queue = queue = PacketQueue(queued, meta_shape=14, depth=self.depth)
        ends   = Signal()
        valid2 = Signal()
        first2 = Signal()
        length2, bad2, data2 = Signal(15), Signal(), Signal.like(beat.data)
        m.d.sync += [
            valid2.eq(valid & (beat.first | begun)), first2.eq(beat.first), ends.eq(beat.last),
            length2.eq(length), data2.eq(beat.data),
            bad2.eq((beat.error & self._heeds_error) | (holed & ~beat.first)),
        ]
        ended, bad, over, runt = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            ended.eq(valid2 & ends),
            bad.eq(bad2),
            over.eq(length2 > self.limit),
            runt.eq(length2 < FRAME_MIN),
            queue.i.valid.eq(valid2),
            queue.i.p.data.eq(data2),
            queue.i.p.first.eq(first2),
            queue.i.p.last.eq(ends),
            queue.meta.eq(length2),
            queue.discard.eq(~enabled | bad | over | runt),
        ]

        # Third stage: the counters' events, with the queue's own.
        ended3, why3, length3 = Signal(), Signal(drop_reasons()), Signal(14)
        m.d.sync += [
            ended3.eq(ended & ~queue.discard), length3.eq(length2),
            why3.disabled.eq(ended & ~enabled),
            why3.error.eq(ended & enabled & bad),
            why3.oversize.eq(ended & enabled & ~bad & over),
            why3.runt.eq(ended & enabled & ~bad & runt),
        ]
        m.d.comb += [
            self.kept.eq(ended3 & ~queue.overrun), self.kept_octets.eq(length3),
            self.dropped.eq(why3),
            self.dropped.error.eq(why3.error | queue.torn),
            self.dropped.overrun.eq(queue.overrun),
        ]

        m.submodules.out = out = Buffer(self.packet.members["payload"].shape)
        m.d.comb += [
            out.i.valid.eq(queue.o.valid),
            queue.o.ready.eq(out.i.ready),
            out.i.p.data.eq(queue.o.p.beat.data),
            out.i.p.first.eq(queue.o.p.beat.first),
            out.i.p.last.eq(queue.o.p.beat.last),
            out.i.p.meta.length.eq(queue.o.p.meta),
            out.i.p.meta.port.eq(PORT_WIRE),
        ]
        wiring.connect(m, out.o, wiring.flipped(self.packets))

        return m
