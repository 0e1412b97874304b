"""Which flow a frame belongs to: both layers parsed, the UFID taken from the right one."""

# Ref: rfc-7348, 5 (VXLAN Frame Format)

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.delay import Delay
from .parse import LENGTH_BITS, LayerParser, layer, octets_be
from .spec import HEADER_WINDOW, VXLAN_PORT, Key, L3Type, Reason

__all__ = ["Ufid", "frame", "found", "LATENCY"]

LATENCY = 8
UDP_VXLAN = 16  # octets of the UDP and VXLAN headers


def frame():
    """A frame's beginning, as the packet buffer hands it to the parser."""
    return data.StructLayout({
        "window":  8 * HEADER_WINDOW,  # 0 behind the frame's end
        "length":  LENGTH_BITS,
        "source":  12,                 # as the key shall say it
        "wire":    1,                  # the key's direction
    })


def found():
    """What the parser says of a frame."""
    return data.StructLayout({
        "key":    Key,
        "layer":  layer(),      # the key's
        "start":  8,            # where it begins in the frame
        "end":    LENGTH_BITS,  # where the frame ends, without what follows a tunnel's last octet
        "reason": 5,            # Reason.NONE, or why there will be no lookup
    })


class Ufid(wiring.Component):
    """Parse a frame and its tunnel, and say its UFID.

    Only frames from the wire may be tunnels: what a guest wraps itself is a flow of its own.
    A tunnel's outer headers must be without fault and without IPv4 options.

    Timing
    ------
    Latency 8 cycles, one frame per cycle, never stalls.

    Members
    -------
    i : ``In(frame())``
        A frame's beginning.
    o : ``Out(found())``
        What it is, 8 cycles later.
    """

    def __init__(self):
        super().__init__({"i": In(frame()), "o": Out(found())})

    def elaborate(self, platform):
        m = Module()

        m.submodules.outer = outer = LayerParser(window=HEADER_WINDOW)
        visible = Signal(8)
        m.d.comb += visible.eq(Mux(self.i.length < HEADER_WINDOW, self.i.length, HEADER_WINDOW))
        m.d.comb += [
            outer.window.eq(self.i.window),
            outer.length.eq(self.i.length),
            outer.visible.eq(visible),
        ]
        side_shape = data.StructLayout({"length": LENGTH_BITS, "source": 12, "wire": 1,
                                        "visible": 8})
        m.submodules.side_2 = side_2 = Delay(side_shape, cycles=2)
        m.submodules.side_7 = side_7 = Delay(side_shape, cycles=5)
        m.d.comb += [
            side_2.i.length.eq(self.i.length), side_2.i.source.eq(self.i.source),
            side_2.i.wire.eq(self.i.wire), side_2.i.visible.eq(visible),
            side_7.i.eq(side_2.o),
        ]

        # Cycle 2: is it VXLAN? Cycle 3: the inner frame is at octet 0.
        shown = len(outer.l4_window) // 8 - UDP_VXLAN
        m.submodules.inner = inner = LayerParser(window=shown)
        window = outer.l4_window
        tunnel = data.StructLayout({"tunnel": 1, "bad": 1, "vni": 24, "start": 8,
                                    "end": LENGTH_BITS})
        mark = Signal(tunnel)
        start, udp_length = Signal(9), Signal(16)
        m.d.comb += [
            start.eq(outer.l4_offset + UDP_VXLAN),
            udp_length.eq(octets_be(window, 4, 2)),
        ]
        inside = Signal(signed(18))
        m.d.comb += inside.eq(udp_length - UDP_VXLAN)
        m.d.sync += [
            mark.tunnel.eq(side_2.o.wire & outer.l4_udp & (octets_be(window, 2, 2) == VXLAN_PORT)),
            mark.bad.eq(~window[8 * 8 + 3] | (inside < 14)
                        | (outer.l4_offset + udp_length != outer.l4_end)),
            mark.vni.eq(octets_be(window, 12, 3)),
            mark.start.eq(start),
            mark.end.eq(outer.l4_end),
            inner.window.eq(window[8 * UDP_VXLAN:]),
            inner.length.eq(Mux(inside < 0, 0, inside)),
            inner.visible.eq(Mux(side_2.o.visible < start, 0, side_2.o.visible - start)),
        ]

        # Cycle 7: both layers are known.
        m.submodules.outer_7 = outer_7 = Delay(layer(), cycles=3)
        m.submodules.mark_7  = mark_7 = Delay(tunnel, cycles=4)
        m.d.comb += [outer_7.i.eq(outer.o), mark_7.i.eq(mark)]
        self._choose(m, outer=outer_7.o, inner=inner.o, mark=mark_7.o, side=side_7.o)

        return m

    def _choose(self, m, *, outer, inner, mark, side):
        chosen = Signal(layer())
        m.d.comb += chosen.eq(Mux(mark.tunnel, inner, outer))
        reason = Signal(5)
        outer_reason = self._reason(m, outer, "outer")
        inner_reason = self._reason(m, inner, "inner")
        m.d.comb += reason.eq(outer_reason)
        with m.If(mark.tunnel & (outer_reason == Reason.NONE)):
            m.d.comb += reason.eq(inner_reason)
            with m.If(mark.bad):
                m.d.comb += reason.eq(Reason.BAD_VXLAN)
            with m.Elif((outer.l3_type == L3Type.IPV4) & (outer.header_octets != 20)):
                m.d.comb += reason.eq(Reason.HEADERS_TOO_LONG)

        key, o = Signal(Key), self.o
        m.d.comb += [
            key.source_address.eq(chosen.source_address),
            key.destination_address.eq(chosen.destination_address),
            key.source_port.eq(chosen.source_port),
            key.destination_port.eq(chosen.destination_port),
            key.protocol.eq(chosen.protocol),
            key.vni.eq(Mux(mark.tunnel, mark.vni, 0)),
            key.source.eq(side.source),
            key.direction.eq(side.wire),
            key.tunnel.eq(mark.tunnel),
            key.vlan.eq(Mux(chosen.tags != 0, chosen.vlan_tci[:12], 0)),
            key.vlan_valid.eq(chosen.tags != 0),
            key.l3_type.eq(chosen.l3_type),
        ]
        m.d.sync += [
            o.key.eq(key),
            o.layer.eq(chosen),
            o.start.eq(Mux(mark.tunnel, mark.start, 0)),
            o.end.eq(Mux(mark.tunnel, mark.end, side.length)),
            o.reason.eq(reason),
        ]

    def _reason(self, m, found_layer, name):
        """The first fault of a layer: drops before exceptions."""
        reason = Signal(5, name=f"{name}_reason")
        with m.If(found_layer.truncated):
            m.d.comb += reason.eq(Reason.TRUNCATED)
        with m.Elif(found_layer.bad_header):
            m.d.comb += reason.eq(Reason.BAD_HEADER)
        with m.Elif(found_layer.too_long):
            m.d.comb += reason.eq(Reason.HEADERS_TOO_LONG)
        with m.Elif(found_layer.bad_checksum):
            m.d.comb += reason.eq(Reason.BAD_CHECKSUM)
        with m.Elif(found_layer.fragment):
            m.d.comb += reason.eq(Reason.FRAGMENT)
        with m.Elif(found_layer.extension):
            m.d.comb += reason.eq(Reason.EXTENSION)
        return reason
