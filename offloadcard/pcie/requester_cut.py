"""A DMA request of any place and length becomes TLPs that the link allows."""

# Ref: pcie-5.0, 2.2.5 (First/Last DW Byte Enables Rules), 2.2.7 (Memory, I/O, and Configuration
# Request Rules), 7.5.3.4 (Device Control Register)

from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Buffer

__all__ = ["Cutter", "cut_request", "cut_piece"]


def cut_request(user, *, length_max):
    """``length`` octets at ``address``, in TLPs of at most ``128 << limit`` octets."""
    return data.StructLayout({
        "user":    user,
        "address": 64,
        "length":  range(length_max + 1),
        "limit":   3,
    })


def cut_piece(user, *, length_max):
    """One TLP of a request.

    ``octets`` begin at ``address`` and at octet ``offset`` of the request; ``length_dw`` and the
    byte enables are those of the header.
    """
    return data.StructLayout({
        "user":      user,
        "address":   64,
        "octets":    range(length_max + 1),
        "offset":    range(length_max),
        "length_dw": 11,
        "first_be":  4,
        "last_be":   4,
        "first":     1,
        "last":      1,
    })


class Cutter(wiring.Component):
    """Cut requests so that no TLP crosses 4 KiB or is longer than the limit.

    Pieces are as few as can be: each but the last of a page has the full length, from the DW where
    it begins.

    Timing
    ------
    Latency 1 cycle for a request of one piece that finds none under way, else 2; one piece per
    cycle, without a gap between requests.

    Parameters
    ----------
    user : shape-castable
        What rides along with a request, to all of its pieces.
    length_max : int
        Greatest length of a request; up to 16384.

    Members
    -------
    i : ``In(stream.Signature(cut_request(...)))``
        Requests. ``limit`` encodes as Max_Payload_Size; 5 is the greatest.
    o : ``Out(stream.Signature(cut_piece(...)))``
        Pieces in order of their addresses.
    """

    def __init__(self, user, *, length_max):
        if not 1 <= length_max <= 16384:
            raise ValueError(f"`length_max` must be 1 to 16384, not {length_max!r}")
        self.user = user
        self.length_max = length_max
        super().__init__({
            "i": In(stream.Signature(cut_request(user, length_max=length_max))),
            "o": Out(stream.Signature(cut_piece(user, length_max=length_max))),
        })

    page_octets = 4096  # a request never crosses this [pcie-5.0: 2.2.7]

    def elaborate(self, platform):
        m = Module()

        m.submodules.out = out = Buffer(cut_piece(self.user, length_max=self.length_max))
        wiring.connect(m, out.o, wiring.flipped(self.o))

        busy      = Signal()
        user      = Signal(self.user)
        page      = Signal(52)
        page_next = Signal(52)
        low       = Signal(12)
        in_page   = Signal(range(self.length_max + 1))  # octets left in this page
        after     = Signal(range(self.length_max + 1))  # octets left behind it
        following = Signal(range(self.length_max + 1))  # of these, in the next page
        offset    = Signal(range(self.length_max))
        first     = Signal()
        full      = Signal(13)  # octets of a piece that begins on a DW
        room      = Signal(13)  # octets that fit this piece
        two       = Signal(14)  # octets that fit this piece and the next
        closes    = Signal()    # nothing is left of this page after this piece
        last      = Signal()    # nor of the request

        piece, request = out.i.p, self.i.p
        octets = Signal(range(self.length_max + 1))
        m.d.comb += octets.eq(Mux(closes, in_page, room))
        whole = self._enables(m, request.address[:2], request.length, "whole")
        part  = self._enables(m, low[:2], octets, "part")
        page_room = Signal(13)
        size      = Signal(13)
        fits_page, fits_piece = Signal(), Signal()
        m.d.comb += [
            page_room.eq(self.page_octets - request.address[:12]),
            size.eq(128 << Mux(request.limit > 5, 5, request.limit)),
            fits_page.eq(request.length <= page_room),
            fits_piece.eq(request.length <= size - request.address[:2]),
            # A request that is one piece leaves at once, if none is under way.
            out.i.valid.eq(busy | self.i.valid & fits_page & fits_piece),
            piece.user.eq(Mux(busy, user, request.user)),
            piece.address.eq(Mux(busy, Cat(low, page), request.address)),
            piece.octets.eq(Mux(busy, octets, request.length)),
            piece.offset.eq(Mux(busy, offset, 0)),
            piece.first.eq(~busy | first),
            piece.last.eq(~busy | last),
            *(piece[name].eq(Mux(busy, part[name], whole[name])) for name in part),
            self.i.ready.eq(~busy | (out.i.ready & last)),
        ]

        m.d.comb += following.eq(Mux(after > self.page_octets, self.page_octets, after))
        with m.If(busy & out.i.ready):
            m.d.sync += [
                busy.eq(~last),
                first.eq(0),
                offset.eq(offset + octets),
                room.eq(full),
                two.eq(full << 1),
                low.eq(low + octets),
                in_page.eq(in_page - room),
                closes.eq(in_page <= two),
                last.eq((in_page <= two) & (after == 0)),
            ]
            with m.If(closes):
                m.d.sync += [page.eq(page_next), page_next.eq(page_next + 1), low.eq(0),
                             in_page.eq(following), after.eq(after - following),
                             closes.eq(following <= full), last.eq(after <= full)]

        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                busy.eq(busy | ~(fits_page & fits_piece & out.i.ready)),
                user.eq(request.user),
                page.eq(request.address[12:]),
                page_next.eq(request.address[12:] + 1),
                low.eq(request.address[:12]),
                in_page.eq(Mux(fits_page, request.length, page_room)),
                after.eq(Mux(fits_page, 0, request.length - page_room)),
                offset.eq(0),
                first.eq(1),
                full.eq(size),
                room.eq(size - request.address[:2]),
                two.eq((size << 1) - request.address[:2]),
                closes.eq(fits_piece | (page_room <= size - request.address[:2])),
                last.eq(fits_piece & fits_page),
            ]
            m.d.sync += Assert(request.length != 0)

        return m

    @staticmethod
    def _enables(m, lane, octets, name):
        """``length_dw`` and the byte enables of ``octets`` that begin at ``lane`` of a DW."""
        end    = Signal(len(octets) + 1, name=f"{name}_end")  # octets from the DW's start
        single = Signal(name=f"{name}_single")
        first_be, last_be = Signal(4, name=f"{name}_first"), Signal(4, name=f"{name}_last")
        m.d.comb += [
            end.eq(octets + lane),
            single.eq(end <= 4),
            first_be.eq((0b1111 << lane)[:4]),
        ]
        with m.Switch(end[:2]):
            for octet in range(4):
                with m.Case(octet):
                    m.d.comb += last_be.eq(0b1111 if octet == 0 else (1 << octet) - 1)
        return {
            "length_dw": (end + 3)[2:],
            # A single DW has its enables in the first field [pcie-5.0: 2.2.5].
            "first_be": Mux(single, first_be & last_be, first_be),
            "last_be":  Mux(single, 0, last_be),
        }
