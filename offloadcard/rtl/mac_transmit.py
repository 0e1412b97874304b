"""The half of the MAC that sends: padding, line rate, beats of the wire."""

# Ref: ieee-802.3-2022, 4.2.3.3 (minimum frame size), 4.4.2 (interframe gap)

from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .buffer import Buffer
from .ports import PacketStream
from .spec_card import FCS_OCTETS, FRAME_MIN, GAP_OCTETS, mac_beat

__all__ = ["MacTransmit"]


class MacTransmit(wiring.Component):
    """Send packets as frames, no faster than the line.

    Frames under 60 octets are padded with zeros; lanes that hold no octet of the frame are zero,
    so that nothing of an earlier packet leaks to the wire. While ``enable`` is 0 packets are
    swallowed whole.

    Timing
    ------
    Latency 2 cycles; one beat per cycle. A frame starts when the line is free of the frame before,
    its FCS, preamble and gap (24 octets; standard): the debt of octets is kept to 1/256 octet a
    cycle, and a frame may start in the cycle in which the debt ends, so that the mean rate is the
    line's. Gaps in the producer's beats go to the wire as they are (a model's freedom).

    Parameters
    ----------
    data_width, function_id_width : int
        Of the packet stream.
    port_mbps, clock_mhz : int
        Rate of the line and the clock it is counted by.

    Members
    -------
    enable : ``In(1)``
        Send.
    packets : ``In(PacketStream(...))``
        From the card.
    wire : ``Out(stream.Signature(mac_beat(...)))``
        To the wire.
    sent : ``Out(1)``
        A frame ended in this cycle, of ``sent_octets`` octets; ``sent_error``: with a broken FCS.
    """

    # What a mutant changes: octets of FCS, preamble and gap that the line's time is charged for.
    _overhead = FCS_OCTETS + GAP_OCTETS

    def __init__(self, *, data_width, function_id_width, port_mbps, clock_mhz):
        self.lanes = data_width // 8
        self.rate  = port_mbps * 256 // (8 * clock_mhz)  # octets a cycle, 8 fractional bits
        if self.rate < 1:
            raise ValueError(f"`port_mbps` must be at least {clock_mhz * 8 / 256}, "
                             f"not {port_mbps!r}")
        self.packet = PacketStream(data_width=data_width, function_id_width=function_id_width)
        self.beat   = mac_beat(data_width=data_width)
        super().__init__({
            "enable":      In(1, init=1),
            "packets":     In(self.packet),
            "wire":        Out(stream.Signature(self.beat)),
            "sent":        Out(1),
            "sent_octets": Out(14),
            "sent_error":  Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        lanes  = self.lanes
        i      = self.packets.p
        inside = Signal()  # between first and last
        dry    = Signal()  # the packet has ended, the frame has not: padding
        swallows = Signal()

        # Octets of the packet and of the frame that are left, this beat's included.
        packet_left, packet_left_r = Signal(14), Signal(14)
        frame_left,  frame_left_r  = Signal(14), Signal(14)
        m.d.comb += [
            packet_left.eq(Mux(inside, packet_left_r, i.meta.length)),
            frame_left.eq(Mux(inside, frame_left_r,
                              Mux(i.meta.length < FRAME_MIN, FRAME_MIN, i.meta.length))),
        ]
        octets, real = Signal(range(lanes + 1)), Signal(range(lanes + 1))
        last = Signal()
        m.d.comb += [
            last.eq(frame_left <= lanes),
            octets.eq(Mux(last, frame_left, lanes)),
            real.eq(Mux(packet_left <= lanes, packet_left, lanes)),
        ]

        # The line: a frame starts in the cycle in which the debt ends.
        owed  = Signal(24)
        free  = Signal()
        cost  = Signal(24)
        m.d.comb += free.eq(owed < self.rate)
        m.d.comb += cost.eq((frame_left + self._overhead) << 8)

        staged = data.StructLayout({"beat": self.beat, "real": range(lanes + 1)})
        m.submodules.stage = stage = Buffer(staged)
        moves = Signal()
        m.d.comb += [
            stage.i.p.beat.data.eq(i.data),
            stage.i.p.beat.valid_bytes.eq(octets),
            stage.i.p.beat.first.eq(~inside),
            stage.i.p.beat.last.eq(last),
            stage.i.p.beat.error.eq(last & i.error & ~dry),
            stage.i.p.real.eq(Mux(dry, 0, real)),
            moves.eq(stage.i.valid & stage.i.ready),
        ]
        m.d.sync += owed.eq(Mux(free, 0, owed - self.rate))
        with m.If(swallows | (self.packets.valid & ~inside & ~self.enable)):
            m.d.comb += self.packets.ready.eq(1)
            with m.If(self.packets.valid):
                m.d.sync += swallows.eq(~i.last)
        with m.Else():
            m.d.comb += stage.i.valid.eq(dry | self.packets.valid & (inside | free))
            m.d.comb += self.packets.ready.eq(~dry & stage.i.ready & (inside | free))
            with m.If(moves):
                m.d.sync += [
                    inside.eq(~last),
                    dry.eq(~last & (dry | i.last)),
                    packet_left_r.eq(packet_left - lanes),
                    frame_left_r.eq(frame_left - lanes),
                ]
                with m.If(~inside):
                    m.d.sync += owed.eq(owed + cost - self.rate)
                # Ours: `length` is the truth.
                m.d.sync += Assert(dry | (i.last == (packet_left <= lanes)))
                with m.If(~inside):
                    m.d.sync += Assert(i.first & (i.meta.length != 0))

        # What the wire sees: no lane beyond the packet's octets.
        m.submodules.out = out = Buffer(self.beat)
        # Two short comparisons a lane instead of a long one: eights, and lanes of an eight.
        eights, rest = stage.o.p.real[3:], stage.o.p.real[:3]
        full, more = Signal(lanes // 8), Signal(lanes // 8)
        within = Signal(8)
        m.d.comb += [
            *(full[n].eq(eights > n) for n in range(lanes // 8)),
            *(more[n].eq(eights == n) for n in range(lanes // 8)),
            *(within[n].eq(rest > n) for n in range(8)),
            out.i.payload.eq(stage.o.p.beat),
            *(out.i.p.data[lane].eq(Mux(full[lane // 8] | more[lane // 8] & within[lane % 8],
                                        stage.o.p.beat.data[lane], 0))
              for lane in range(lanes)),
            out.i.valid.eq(stage.o.valid),
            stage.o.ready.eq(out.i.ready),
        ]
        wiring.connect(m, out.o, wiring.flipped(self.wire))

        total = Signal(14)
        with m.If(moves & ~inside):
            m.d.sync += total.eq(frame_left)
        m.d.sync += [self.sent.eq(moves & last), self.sent_error.eq(i.error & ~dry)]
        m.d.comb += self.sent_octets.eq(total)

        return m
