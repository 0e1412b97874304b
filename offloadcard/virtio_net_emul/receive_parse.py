"""The beginning of a frame: what its checksum covers, and a hash of its flow."""

# Ref: RFC 791, 3.1 (Internet Header Format); RFC 8200, 3 (IPv6 Header Format), 8.1 (checksums)
# Ref: RFC 9293, 3.1 (TCP header); RFC 768 (UDP); IEEE 802.1Q-2018, 9.6 (VLAN tag)

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .octet_sum import NUMBER

__all__ = ["WINDOW", "ReceiveParse"]

WINDOW = 64  # octets of a frame that are looked at
TCP, UDP = 6, 17


class ReceiveParse(wiring.Component):
    """Look at the first 64 octets of each frame, one VLAN tag passed over.

    IPv4 without options and IPv6 without extension headers have what TCP and UDP sum up in one
    piece: both addresses, then the segment to the end of the packet. So ``start`` to ``end`` is
    that piece and ``extra`` the rest of the pseudo header, the protocol and the length.

    Timing
    ------
    A beat per cycle, never stalled; ``o`` follows the 64th octet, or the last, by 4 cycles.

    Parameters
    ----------
    octets : int
        Octets of a beat.

    Members
    -------
    valid, data, first, last, length : ``In``
        One beat, and the length of its frame.
    mark : ``In(12)``
        Comes out with what was found.
    o : ``Out``
        ``check``: there is a checksum to verify; ``hash``: of the flow, 0 if it is not IP.
    """

    def __init__(self, *, octets):
        self.octets = octets
        super().__init__({
            "valid":  In(1),
            "data":   In(8 * octets),
            "first":  In(1),
            "last":   In(1),
            "length": In(14),
            "mark":   In(12),
            "o":      Out(data.StructLayout({
                "valid": 1, "mark": 12, "check": 1, "start": NUMBER, "end": NUMBER, "extra": 17,
                "hash": 8})),
        })

    def elaborate(self, platform):
        m = Module()
        # The window: beats side by side, those that have not come 0.
        chunks = WINDOW // self.octets
        index, number = Signal(range(chunks + 1)), Signal(range(chunks + 1))
        parts  = [Signal(8 * self.octets, name=f"part_{n}") for n in range(chunks)]
        there  = Signal()
        side   = data.StructLayout({"valid": 1, "mark": 12, "length": 14})
        sides  = [Signal(side, name=f"side_{n}") for n in range(3)]
        m.d.comb += [
            number.eq(Mux(self.first, 0, index)),
            there.eq(self.valid & ((number == chunks - 1) | self.last & (number < chunks))),
        ]
        m.d.sync += [sides[0].valid.eq(there), sides[0].mark.eq(self.mark),
                     sides[0].length.eq(self.length), sides[1].eq(sides[0]),
                     sides[2].eq(sides[1])]
        with m.If(self.valid):
            m.d.sync += index.eq(number + (number != chunks))
            for n, part in enumerate(parts):
                with m.If(number == n):
                    m.d.sync += part.eq(self.data)
                with m.Elif(self.first):
                    m.d.sync += part.eq(0)
        window = Cat(parts)

        def word(source, at, octets=2):
            """A number in network order."""
            return Cat(source[8 * n:8 * n + 8] for n in reversed(range(at, at + octets)))

        # Second cycle: behind the tag, if there is one.
        tagged = Signal()
        m.d.comb += tagged.eq(word(window, 12) == 0x8100)
        rest = Signal(8 * 46)
        kind = Signal(16)
        base = Signal(5)
        m.d.sync += [
            rest.eq(Mux(tagged, window[8 * 18:], window[8 * 14:8 * 60])),
            kind.eq(Mux(tagged, word(window, 16), word(window, 12))),
            base.eq(Mux(tagged, 18, 14)),
        ]

        # Third: the fields, by version.
        four, six = Signal(), Signal()
        m.d.comb += [four.eq((kind == 0x0800) & (rest[:8] == 0x45)),
                     six.eq((kind == 0x86DD) & (rest[4:8] == 6))]
        is_ip, whole, is_six = Signal(), Signal(), Signal()
        protocol, size = Signal(8), Signal(16)
        addresses, ports = Signal(32), Signal(16)
        start, end, low = Signal(NUMBER), Signal(18), Signal(17)
        udp_size, udp_sum = Signal(16), Signal(16)
        total = word(rest, 2)
        v4_ports, v6_ports = rest[8 * 20:8 * 24], rest[8 * 40:8 * 44]
        v6 = [rest[8 * n:8 * n + 32] for n in range(8, 40, 4)]
        v6_sum = Signal(32)
        m.d.comb += v6_sum.eq(v6[0] ^ v6[1] ^ v6[2] ^ v6[3] ^ v6[4] ^ v6[5] ^ v6[6] ^ v6[7])
        m.d.sync += [
            is_ip.eq(four | six),
            # More fragments, or an offset: no ports here, and no whole segment.
            whole.eq(Mux(four, (word(rest, 6) & 0x3FFF) == 0, six)),
            protocol.eq(Mux(four, rest[72:80], rest[48:56])),
            size.eq(Mux(four, total - 20, word(rest, 4))), low.eq(Mux(four, total, 20)),
            end.eq(base + Mux(four, total, word(rest, 4) + 40)),
            start.eq(base + Mux(four, 12, 8)),
            addresses.eq(Mux(four, rest[96:128] ^ rest[128:160], v6_sum)),
            ports.eq(Mux(four, v4_ports[:16] ^ v4_ports[16:], v6_ports[:16] ^ v6_ports[16:])),
            is_six.eq(six), udp_size.eq(Mux(four, word(rest, 24), word(rest, 44))),
            udp_sum.eq(rest[8 * 26:8 * 28]),
        ]

        # Fourth: the verdict.
        o = self.o
        has_ports = Signal()
        m.d.comb += has_ports.eq(whole & ((protocol == TCP) | (protocol == UDP)))
        # Exchanging both ends changes nothing; what differs between flows, the low bits, counts
        # most where the hash is scaled.
        mixed = Signal(8)
        m.d.comb += mixed.eq(
            addresses[:8] ^ addresses[8:16] ^ addresses[16:24] ^ addresses[24:]
            ^ Mux(has_ports, ports[8:] ^ ports[:8].rotate_left(3), 0))
        good = Signal()
        m.d.comb += good.eq(
            whole & (low >= 20) & (end <= sides[2].length)
            & ((protocol == TCP) & (size >= 20)
               # [RFC 768] no sum is 0; a length of its own that is another is not verified here.
               | (protocol == UDP) & (size >= 8) & (udp_size == size)
               & (is_six | (udp_sum != 0))))
        m.d.sync += [
            o.valid.eq(sides[2].valid), o.mark.eq(sides[2].mark), o.check.eq(good),
            o.start.eq(start), o.end.eq(end), o.extra.eq(protocol + size),
            o.hash.eq(Mux(is_ip, Cat(reversed(mixed)), 0)),
        ]
        return m
