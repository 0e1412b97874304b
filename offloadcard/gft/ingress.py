"""The way in: octets into the packet buffer, their beginning into a token."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Skid
from .records import entering_beat, token
from .spec import HEADER_WINDOW, Reason

__all__ = ["Ingress"]


class Ingress(wiring.Component):
    """Write a packet's beats on to the buffer; when it is whole, send its token for a decision.

    Every packet gets one token, also a damaged or oversized one; only a packet that finds no cell
    at its first beat, with ``tail_drop``, is swallowed whole and told by ``lost``.

    Timing
    ------
    The token leaves 1 cycle after the last beat; one beat per cycle.

    Parameters
    ----------
    data_width : int
        Bits of a beat.
    cells : int
        Cells of the packet buffer.
    max_octets : int
        Longest frame that may pass.
    tail_drop : bool
        Drop what finds no room; else wait.

    Members
    -------
    i : ``In(stream.Signature(entering_beat(...)))``
        Packets.
    enable : ``In(1)``
        Else packets are dropped, as ``Reason.DISABLED``.
    beats, handle, starts_cell : to :class:`~.packet_buffer.PacketBuffer`
        Its input.
    o : ``Out(stream.Signature(token(...)))``
        Tokens, in the order of the packets.
    lost : ``Out(1)``
        A packet was swallowed.
    """

    def __init__(self, *, data_width, cells, max_octets, tail_drop):
        self.data_width = data_width
        self.max_octets = max_octets
        self.tail_drop  = tail_drop
        self.shape = token(cell_width=(cells - 1).bit_length())
        super().__init__({
            "i":           In(stream.Signature(entering_beat(data_width=data_width))),
            "enable":      In(1),
            "beats":       Out(stream.Signature(data.StructLayout(
                {"data": data_width, "first": 1, "last": 1}))),
            "handle":      In(range(cells)),
            "starts_cell": In(1),
            "o":           Out(stream.Signature(self.shape)),
            "lost":        Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        beat = self.i.p
        m.submodules.leave = leave = Skid(self.shape)
        wiring.connect(m, leave.o, wiring.flipped(self.o))
        sends   = Signal()  # a token is ready to leave but for its fault
        swallow = Signal()  # the rest of a packet: it has no cells
        spoiled = Signal()  # it has cells, but not all
        no_room, stalled, moves, written = Signal(), Signal(), Signal(), Signal()
        inside  = Signal()  # of what is written
        m.d.comb += [
            # The token's place must be free when the last beat goes.
            stalled.eq(sends & ~leave.i.ready & beat.last),
            inside.eq(Mux(beat.first, 1, ~swallow & ~spoiled)),
            no_room.eq(self.i.valid & inside & ~self.beats.ready),
            self.beats.valid.eq(self.i.valid & inside & ~stalled),
            self.beats.p.data.eq(beat.data),
            self.beats.p.first.eq(beat.first),
            self.beats.p.last.eq(beat.last),
            self.i.ready.eq(~stalled & (self.beats.ready | ~inside | self.tail_drop)),
            moves.eq(self.i.valid & self.i.ready),
            written.eq(self.beats.valid & self.beats.ready),
        ]

        # The window: chunks of beats, those after the present one 0.
        chunks = 8 * HEADER_WINDOW // self.data_width
        index  = Signal(range(chunks + 1))
        number = Signal.like(index)
        window_r = [Signal(self.data_width, name=f"window_{n}") for n in range(chunks)]
        m.d.comb += number.eq(Mux(beat.first, 0, index))
        # A packet that is not as long as it says must not be read for so long.
        lanes = self.data_width // 8
        beats, beats_r = Signal(12), Signal(12)
        m.d.comb += beats.eq(Mux(beat.first, 1, beats_r + 1))
        cells, cells_r = Signal(8), Signal(8)
        m.d.comb += cells.eq(Mux(beat.first, 0, cells_r) + (written & self.starts_cell))
        lost = Signal()
        m.d.comb += lost.eq(moves & no_room & beat.first & self.tail_drop)
        m.d.sync += self.lost.eq(lost)

        with m.If(leave.i.ready):
            m.d.sync += sends.eq(0)
        with m.If(moves):
            m.d.sync += [
                cells_r.eq(cells),
                beats_r.eq(beats),
                index.eq(number + (number != chunks)),
                swallow.eq(Mux(beat.first, no_room, swallow) & ~beat.last),
                spoiled.eq((spoiled & ~beat.first | no_room & ~beat.first) & ~beat.last),
            ]
            for n, chunk in enumerate(window_r):
                with m.If(number == n):
                    m.d.sync += chunk.eq(beat.data)
            with m.If(beat.last & ~lost & ~(swallow & ~beat.first)):
                m.d.sync += sends.eq(1)

        # The token's fault is found a cycle later, from registers.
        token, o = Signal(self.shape), leave.i.p
        error, spoils, enabled = Signal(), Signal(), Signal()
        expected, counted = Signal(12), Signal(12)
        # Octets of the last beat behind the frame's end are the producer's, not the frame's: the
        # parser believes nothing beyond `length`.
        chunks = [Mux(number == n, beat.data, Mux(number > n, chunk, 0))
                  for n, chunk in enumerate(window_r)]
        first_handle = Signal.like(self.handle)
        m.d.comb += [first_handle.eq(self.handle), leave.i.valid.eq(sends), o.eq(token)]
        with m.If(moves & beat.last):
            m.d.sync += [
                token.window.eq(Cat(chunks)), token.side.eq(beat.side),
                token.handle.eq(first_handle), token.cells.eq(cells),
                error.eq(beat.error), spoils.eq(~beat.first & (spoiled | no_room)),
                enabled.eq(self.enable), counted.eq(beats),
            ]
        m.d.comb += expected.eq((token.side.length + lanes - 1) >> (lanes.bit_length() - 1))
        with m.If(spoils):
            m.d.comb += o.fault.eq(Reason.NO_ROOM)
        with m.Elif(error | (counted != expected)):
            m.d.comb += o.fault.eq(Reason.DAMAGED)
        with m.Elif(~enabled & ~token.side.injected):
            m.d.comb += o.fault.eq(Reason.DISABLED)
        with m.Elif(token.side.length > self.max_octets):
            m.d.comb += o.fault.eq(Reason.OVERSIZED)

        return m
