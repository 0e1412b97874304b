"""Dataset Management: ranges of blocks that the guest no longer needs read as zeros."""

# Ref: nvme-base-1.4c, 6.7 (Dataset Management command)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.arbiter import Merge
from offloadcard.rtl.buffer import Queue
from offloadcard.rtl.gearbox import Widen
from offloadcard.rtl.ports import DmaReadPort

from .layouts import OFFSET_WIDTH, PIECES_WIDTH, command, final, segment
from .spec import DSM_RANGE_OCTETS, DsmRange, Status

__all__ = ["Ranges", "RANGE_BLOCKS"]

RANGE_BLOCKS = 2048  # of 512 octets; a longer range is left as it is: the command is an advice


class Ranges(wiring.Component):
    """Fetch a command's ranges one by one, and cut each into segments of zeros.

    Commands take turns segment by segment, as in :class:`~offloadcard.nvme_emul.prp.PrpWalk`, and
    are parked while a range is under way, each in a line of its own. A range beyond the volume
    ends the command before anything of that range is touched.

    Timing
    ------
    A segment of up to a page takes 5 cycles, a range 12 and its read.

    Parameters
    ----------
    function_id_width, qid_width, slot_width, data_width : int
        Widths in bits.

    Members
    -------
    commands, i, reads, segments, finals, mark_slot, marked :
        As of :class:`~offloadcard.nvme_emul.prp.PrpWalk`.
    """

    check_range = True  # a mutant leaves it out

    def __init__(self, *, function_id_width, qid_width, slot_width, data_width):
        self.function_id_width, self.slot_width = function_id_width, slot_width
        self.port = {"function_id_width": function_id_width, "tag_width": slot_width,
                     "data_width": data_width}
        slot = {"slot_width": slot_width}
        super().__init__({
            "commands":  In(stream.Signature(command(
                function_id_width=function_id_width, qid_width=qid_width, **slot),
                always_ready=True)),
            "i":         In(stream.Signature(slot_width)),
            "reads":     Out(DmaReadPort(**self.port)),
            "segments":  Out(stream.Signature(segment(
                function_id_width=function_id_width, **slot))),
            "finals":    Out(stream.Signature(final(**slot))),
            "mark_slot": Out(slot_width),
            "marked":    In(1),
        })

    def elaborate(self, platform):
        m = Module()

        slots = 1 << self.slot_width
        given_shape = data.StructLayout({
            "function_id": self.function_id_width, "volume": 2, "blocks_4096": 1, "blocks": 40,
            "prp1": 64, "prp2": 64, "last": 8})
        state_shape = data.StructLayout({
            "index": 8,                # of the range under way
            "offset": OFFSET_WIDTH, "left": 21, "pieces": PIECES_WIDTH})
        m.submodules.given  = given  = memory.Memory(shape=given_shape, depth=slots, init=[])
        m.submodules.states = states = memory.Memory(shape=state_shape, depth=slots, init=[])
        m.submodules.lines  = lines  = memory.Memory(shape=DsmRange, depth=slots, init=[])
        given_w, states_w, lines_w = given.write_port(), states.write_port(), lines.write_port()
        given_r  = given.read_port(transparent_for=(given_w,))
        states_r = states.read_port(transparent_for=(states_w,))
        lines_r  = lines.read_port(transparent_for=(lines_w,))
        c = self.commands.p
        m.d.comb += [
            given_w.addr.eq(c.slot), given_w.en.eq(self.commands.valid),
            *(given_w.data[name].eq(c[name]) for name in given_shape.members if name != "last"),
            given_w.data.last.eq(c.cdw10[:8]),
        ]

        m.submodules.widen = widen = Widen(**self.port)
        turn = data.StructLayout({
            "slot": self.slot_width, "fresh": 1, "arrived": 1, "failed": 1})
        m.submodules.arrived = arrived = Queue(turn, depth=slots)
        m.submodules.merge   = merge   = Merge(turn, count=3)
        m.submodules.turns   = turns   = Queue(turn, depth=slots)
        again = Signal()
        slot  = Signal(self.slot_width)
        m.d.comb += [
            widen.i.valid.eq(self.reads.beats.valid),
            widen.i.payload.eq(self.reads.beats.payload),
            lines_w.addr.eq(widen.o.p.tag),
            lines_w.data.eq(widen.o.p.data.as_value()[:8 * DSM_RANGE_OCTETS]),
            lines_w.en.eq(widen.o.valid),
            arrived.i.valid.eq(widen.o.valid & widen.o.p.last),
            arrived.i.p.slot.eq(widen.o.p.tag), arrived.i.p.arrived.eq(1),
            arrived.i.p.failed.eq(widen.o.p.error),
            merge.i[1].valid.eq(self.i.valid), merge.i[1].p.slot.eq(self.i.payload),
            merge.i[1].p.fresh.eq(1), self.i.ready.eq(merge.i[1].ready),
            merge.i[2].valid.eq(again), merge.i[2].p.slot.eq(slot),
        ]
        wiring.connect(m, arrived.o, merge.i[0])
        wiring.connect(m, merge.o, turns.i)

        command_ = Signal(given_shape)
        state    = Signal(state_shape)
        line     = Signal(DsmRange)
        held     = Signal(turn)
        aborted  = Signal()
        status   = Signal(11)
        length   = Signal(range(4097))
        rest     = Signal(21)
        pieces   = Signal(4)
        over     = Signal()
        end      = Signal(65)
        blocks   = Signal(35)   # of 512 octets
        skip, outside = Signal(), Signal()
        place    = Signal(14)   # of the range, from the first page's begin
        position = Signal(64)
        m.d.comb += [
            given_r.addr.eq(turns.o.p.slot), states_r.addr.eq(turns.o.p.slot),
            lines_r.addr.eq(turns.o.p.slot), self.mark_slot.eq(turns.o.p.slot),
            slot.eq(held.slot), states_w.addr.eq(slot), states_w.data.eq(state),
            self.segments.p.slot.eq(slot), self.segments.p.zeroes.eq(1),
            self.segments.p.function_id.eq(command_.function_id),
            self.segments.p.volume.eq(command_.volume),
            self.segments.p.offset.eq(state.offset), self.segments.p.length.eq(length),
            self.finals.p.slot.eq(slot), self.finals.p.count.eq(state.pieces),
            self.finals.p.status.eq(status),
            self.reads.requests.p.function_id.eq(command_.function_id),
            self.reads.requests.p.tag.eq(slot), self.reads.requests.p.address.eq(position),
            self.reads.requests.p.length.eq(DSM_RANGE_OCTETS),
            length.eq(Mux(state.left > 4096, 4096, state.left)), rest.eq(state.left - length),
            pieces.eq((length + 511)[9:]),
        ]

        def fail(code):
            m.d.sync += status.eq(code)
            m.next = "FINAL"

        with m.FSM(name="ranges"):
            with m.State("TURN"):
                m.d.sync += [held.eq(turns.o.payload), status.eq(0)]
                with m.If(turns.o.valid):
                    m.d.comb += turns.o.ready.eq(1)
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [command_.eq(given_r.data), state.eq(states_r.data),
                             line.eq(lines_r.data), aborted.eq(self.marked)]
                m.next = "BEGIN"
                with m.If(held.fresh):
                    m.d.sync += state.eq(0)
            with m.State("BEGIN"):
                m.d.sync += [
                    end.eq(line.slba + line.nlb),
                    blocks.eq(Mux(command_.blocks_4096, line.nlb << 3, line.nlb)),
                    over.eq(state.left <= 4096),
                ]
                m.next = "OFFER"
                with m.If(held.failed):
                    fail(Status.DATA_TRANSFER_ERROR)
                with m.Elif(aborted):
                    fail(Status.ABORT_REQUESTED)
                with m.Elif(held.fresh):
                    m.next = "PLACE"
                    with m.If(command_.prp1[:4] != 0):
                        fail(Status.INVALID_PRP_OFFSET)
                with m.Elif(held.arrived):
                    m.next = "MEASURE"

            # --- a range ------------------------------------------------------------------
            with m.State("PLACE"):
                m.d.sync += place.eq(command_.prp1[:12] + (state.index << 4))
                m.next = "POSITION"
            with m.State("POSITION"):
                m.d.sync += position.eq(Mux(
                    place[12], Cat(place[:12], command_.prp2[12:]),
                    Cat(place[:12], command_.prp1[12:])))
                m.next = "FETCH"
                with m.If(place[12] & (command_.prp2[:12] != 0)):
                    fail(Status.INVALID_PRP_OFFSET)
            with m.State("FETCH"):
                m.d.comb += [self.reads.requests.valid.eq(1), states_w.en.eq(1)]
                with m.If(self.reads.requests.ready):
                    m.next = "TURN"
            with m.State("MEASURE"):
                m.d.sync += [
                    outside.eq((end > command_.blocks) & int(self.check_range)),
                    skip.eq((blocks == 0) | (blocks > RANGE_BLOCKS)),
                    state.left.eq(blocks << 9),
                    state.offset.eq(Mux(command_.blocks_4096, line.slba[:40] << 12,
                                        line.slba[:40] << 9)),
                ]
                m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += over.eq(state.left <= 4096)
                m.next = "OFFER"
                with m.If(outside):
                    fail(Status.LBA_OUT_OF_RANGE)
                with m.Elif(skip):
                    m.next = "NEXT"

            # --- a segment ----------------------------------------------------------------
            with m.State("OFFER"):
                m.d.comb += self.segments.valid.eq(1)
                with m.If(self.segments.ready):
                    m.d.sync += [
                        state.offset.eq(state.offset + length), state.left.eq(rest),
                        state.pieces.eq(state.pieces + pieces),
                    ]
                    m.next = "AGAIN"
                    with m.If(over):
                        m.next = "NEXT"
            with m.State("AGAIN"):
                m.d.comb += [again.eq(1), states_w.en.eq(1)]
                with m.If(merge.i[2].ready):
                    m.next = "TURN"
            with m.State("NEXT"):
                m.d.sync += state.index.eq(state.index + 1)
                m.next = "PLACE"
                with m.If(state.index == command_.last):
                    m.next = "FINAL"
            with m.State("FINAL"):
                m.d.comb += self.finals.valid.eq(1)
                with m.If(self.finals.ready):
                    m.next = "TURN"

        return m
