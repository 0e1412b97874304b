"""Compare: what the guest holds beside what the store holds."""

# Ref: nvme-base-1.4c, 6.6 (Compare command)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Queue
from offloadcard.rtl.ports import dma_read_beat

from .layouts import PIECE_OCTETS, STATUS_WIDTH
from .spec import Status

__all__ = ["Compare", "piece_over"]


def piece_over(*, tag_width):
    """A piece under a tag is over, with this status."""
    return data.StructLayout({"tag": tag_width, "status": STATUS_WIDTH})


class Compare(wiring.Component):
    """Compare the store's beats of a piece with the guest's octets, which lie in a buffer.

    The buffer's memory is another's, too: a beat is taken in a cycle of ``advance``, and its
    neighbour from the buffer is there one cycle later. The lanes that the store's strobe names
    count, no others.

    Timing
    ------
    One beat per cycle of ``advance``; a piece's status 4 cycles after its last beat.

    Parameters
    ----------
    function_id_width, tag_width, data_width : int
        Widths in bits.

    Members
    -------
    beats : ``In(stream.Signature(dma_read_beat(...)))``
        The store's answers.
    advance : ``In(1)``
        The buffer reads ``address`` now.
    address : ``Out``
        Place in the buffer of the beat that is offered: number in its piece, then tag.
    data : ``In(data_width)``
        What lay there, one cycle later.
    o : ``Out(stream.Signature(piece_over(...)))``
        Pieces that are over; a Compare Failure if an octet differs.
    """

    check_strobe = True  # a mutant compares all lanes

    def __init__(self, *, function_id_width, tag_width, data_width):
        self.tag_width, self.data_width = tag_width, data_width
        self.places = PIECE_OCTETS * 8 // data_width
        super().__init__({
            "beats":   In(stream.Signature(dma_read_beat(
                function_id_width=function_id_width, tag_width=tag_width,
                data_width=data_width))),
            "advance": In(1),
            "address": Out(tag_width + (self.places - 1).bit_length()),
            "data":    In(data_width),
            "o":       Out(stream.Signature(piece_over(tag_width=tag_width))),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.queue = queue = Queue(self.o.payload.shape(), depth=1 << self.tag_width)
        wiring.connect(m, queue.o, wiring.flipped(self.o))

        beat   = self.beats.p
        index  = Signal(range(self.places))
        number = Signal(range(self.places))
        taken  = Signal()
        m.d.comb += [
            index.eq(Mux(beat.first, 0, number)), self.address.eq(Cat(index, beat.tag)),
            self.beats.ready.eq(self.advance), taken.eq(self.beats.valid & self.advance),
        ]
        with m.If(taken):
            m.d.sync += number.eq(index + 1)

        # Three stages: both beats are there; octets that differ; one verdict for the piece.
        held    = Signal.like(beat)
        lanes   = self.data_width // 8
        differs = Signal(lanes)
        stage   = Signal(data.StructLayout(
            {"tag": self.tag_width, "first": 1, "last": 1, "error": 1}))
        valid, valid_r = Signal(), Signal()
        before, differ = Signal(), Signal()  # found in earlier beats; up to this one
        m.d.sync += [valid.eq(taken), valid_r.eq(valid), held.eq(beat)]
        m.d.sync += [stage[name].eq(held[name]) for name in stage.shape().members]
        m.d.sync += [
            differs[lane].eq((held.data[lane] != self.data[8 * lane:][:8])
                             & (held.strobe[lane] | int(not self.check_strobe)))
            for lane in range(lanes)
        ]
        m.d.comb += [
            differ.eq(differs.any() | (before & ~stage.first)),
            queue.i.valid.eq(valid_r & stage.last), queue.i.p.tag.eq(stage.tag),
        ]
        with m.If(valid_r):
            m.d.sync += before.eq(differ)
        with m.If(stage.error):
            m.d.comb += queue.i.p.status.eq(Status.UNRECOVERED_READ_ERROR)
        with m.Elif(differ):
            m.d.comb += queue.i.p.status.eq(Status.COMPARE_FAILURE)

        return m
