"""PRPs: where in the guest's memory the pages of a transfer lie."""

# Ref: nvme-base-1.4c, 4.3 (Physical Region Page Entry and List)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.arbiter import Merge
from offloadcard.rtl.buffer import Queue
from offloadcard.rtl.gearbox import Widen
from offloadcard.rtl.ports import DmaReadPort

from .layouts import OCTETS_WIDTH, OFFSET_WIDTH, PIECES_WIDTH, command, final, segment
from .spec import Status

__all__ = ["PrpWalk"]

FIRST, SECOND, LIST = range(3)
PAGE_PIECES = 8
LOOK_CYCLES = 16  # between turns of what was put off, if nothing ends


class PrpWalk(wiring.Component):
    """Cut commands into segments of up to a page; fetch PRP lists as they are needed.

    Commands take turns page by page. A command that needs a part of its list is parked until the
    part has come, 64 octets at a time, into a line of memory of its own; others go on meanwhile.
    Entries and chained pointers inside a list must be page aligned, so each fetch makes progress
    and a hostile list ends. A command that shall be aborted ends at its next turn.

    With ``cap`` who has pieces in flight gets more only while they are a quarter of what is left,
    or less: so many functions whose memory answers late come to hold a page each, and leave room.
    All functions together whose memory has yet to prove itself hold a quarter at most, so that
    those who are new, and never answer, do not take the last place.
    A command over that is put off: it has a turn again when pieces end, and now and then for its
    abort's sake, so that many that wait cost those that go no turns.

    Timing
    ------
    A page takes 6 cycles (a page of 4 KiB takes 64 beats at 512 bits); the first segment leaves 4
    cycles after its command.

    Parameters
    ----------
    function_id_width, qid_width, slot_width, data_width : int
        Widths in bits.
    cap : int or None
        Pieces in flight of one function; a command over it is put off. None: no bound.
    places : int
        Pieces in flight of all functions, with ``cap``.
    count_width : int
        Width of the counts behind ``cap``.

    Members
    -------
    commands : ``In(stream.Signature(command(...), always_ready=True))``
        Every command; kept by slot.
    i : ``In(stream.Signature(slot_width))``
        Commands to be carried out here.
    reads : ``Out(DmaReadPort(...))``
        Lists; the tag is the slot.
    segments : ``Out(stream.Signature(segment(...)))``
        Pages.
    finals : ``Out(stream.Signature(final(...)))``
        Commands whose segments have all been issued, how many pieces they make, and what was
        wrong.
    mark_slot : ``Out(slot_width)``
        Slot to look up.
    marked : ``In(1)``
        Its command shall be aborted, one cycle later.
    done_address, done, unproven :
        Looks up how many pieces of a function have ended, and whether its memory is unproven.
    ended, ended_unproven : ``In(1)``
        A piece has ended; it was issued as ``unproven``.
    """

    # What a mutant changes: nobody holds more than a part of what is left.
    _leaves_room = True
    # What another changes: who is new is trusted.
    _confines = True

    def __init__(self, *, function_id_width, qid_width, slot_width, data_width, cap=None,
                 places=0, count_width=8):
        if cap is not None and not PAGE_PIECES <= cap <= places:
            raise ValueError(f"`cap` must be {PAGE_PIECES} to `places`, not {cap!r}")
        self.function_id_width, self.slot_width = function_id_width, slot_width
        self.port = {"function_id_width": function_id_width, "tag_width": slot_width,
                     "data_width": data_width}
        self.cap, self.places, self.count_width = cap, places, count_width
        slot = {"slot_width": slot_width}
        super().__init__({
            "commands": In(stream.Signature(command(
                function_id_width=function_id_width, qid_width=qid_width, **slot),
                always_ready=True)),
            "i":        In(stream.Signature(slot_width)),
            "reads":    Out(DmaReadPort(**self.port)),
            "segments": Out(stream.Signature(segment(
                function_id_width=function_id_width, **slot))),
            "finals":   Out(stream.Signature(final(**slot))),
            "mark_slot":    Out(slot_width),
            "marked":       In(1),
            "done_address": Out(function_id_width),
            "done":         In(count_width),
            "unproven":     In(1),
            "ended":        In(1),
            "ended_unproven": In(1),
        })

    def elaborate(self, platform):
        m = Module()

        slots = 1 << self.slot_width
        given_shape = data.StructLayout({
            "function_id": self.function_id_width, "volume": 2, "zeroes": 1, "compare": 1,
            "prp1": 64, "prp2": 64, "offset": OFFSET_WIDTH, "octets": OCTETS_WIDTH})
        state_shape = data.StructLayout({
            "mode": 2, "offset": OFFSET_WIDTH, "left": OCTETS_WIDTH, "pieces": PIECES_WIDTH,
            "list": 64,      # where the list goes on after the line
            "index": 3,      # of the next entry in the line
            "entries": 4,    # in the line, without a pointer to the next list
            "chained": 1,    # the entry after them is that pointer
        })
        m.submodules.given  = given  = memory.Memory(shape=given_shape, depth=slots, init=[])
        m.submodules.states = states = memory.Memory(shape=state_shape, depth=slots, init=[])
        m.submodules.lines  = lines  = memory.Memory(shape=512, depth=slots, init=[])
        given_w, states_w, lines_w = given.write_port(), states.write_port(), lines.write_port()
        given_r  = given.read_port(transparent_for=(given_w,))
        states_r = states.read_port(transparent_for=(states_w,))
        lines_r  = lines.read_port(transparent_for=(lines_w,))
        m.d.comb += [
            given_w.addr.eq(self.commands.p.slot),
            *(given_w.data[name].eq(self.commands.p[name]) for name in given_shape.members),
            given_w.en.eq(self.commands.valid),
        ]

        # Lists arrive a line each; then their commands are due again.
        m.submodules.widen = widen = Widen(**self.port)
        turn = data.StructLayout({"slot": self.slot_width, "fresh": 1, "failed": 1})
        m.submodules.arrived = arrived = Queue(turn, depth=slots)
        m.submodules.merge   = merge   = Merge(turn, count=3)
        m.submodules.turns   = turns   = Queue(turn, depth=slots)
        again = Signal()
        slot  = Signal(self.slot_width)
        m.d.comb += [
            widen.i.valid.eq(self.reads.beats.valid),
            widen.i.payload.eq(self.reads.beats.payload),
            lines_w.addr.eq(widen.o.p.tag),
            lines_w.data.eq(widen.o.p.data),
            lines_w.en.eq(widen.o.valid),
            arrived.i.valid.eq(widen.o.valid & widen.o.p.last),
            arrived.i.p.slot.eq(widen.o.p.tag),
            arrived.i.p.failed.eq(widen.o.p.error),
            merge.i[1].valid.eq(self.i.valid),
            merge.i[1].p.slot.eq(self.i.payload),
            merge.i[1].p.fresh.eq(1),
            self.i.ready.eq(merge.i[1].ready),
            merge.i[2].valid.eq(again),
            merge.i[2].p.slot.eq(slot),
        ]
        wiring.connect(m, arrived.o, merge.i[0])
        wiring.connect(m, merge.o, turns.i)

        # What was put off has two turns for each piece that ends. It takes turns with the others.
        m.submodules.later = later = Queue(turn, depth=slots)
        budget, wait = Signal(8), Signal(range(LOOK_CYCLES))
        visits, prefer = Signal(), Signal()
        now_ = Signal(turn)
        m.d.comb += [
            visits.eq(later.o.valid & (budget != 0) & (prefer | ~turns.o.valid)),
            now_.eq(Mux(visits, later.o.payload.as_value(), turns.o.payload.as_value())),
            later.i.p.slot.eq(slot),
        ]
        earned, spent = Signal(2), Signal()
        m.d.comb += earned.eq(Mux(self.ended, 2, wait == 0))
        m.d.sync += wait.eq(wait + 1)
        with m.If(spent | ~budget[7]):
            m.d.sync += budget.eq(budget + Mux(budget[7], 0, earned) - spent)

        # Pieces of one function in flight.
        pieces = Signal(4)  # of this page
        in_cap, unproven = Signal(init=1), Signal()
        owner  = Signal(self.function_id_width)
        if self.cap is not None:
            m.submodules.issued = issued = memory.Memory(
                shape=self.count_width, depth=1 << self.function_id_width, init=[])
            issued_w = issued.write_port()
            issued_r = issued.read_port(transparent_for=(issued_w,))
            in_flight = Signal(self.count_width)
            m.d.comb += in_flight.eq(issued_r.data - self.done)
            total, left = Signal(range(4 * self.places)), Signal(range(self.places + 1))
            fits, most = Signal(), self.places - PAGE_PIECES
            m.d.sync += [total.eq(total + Mux(issued_w.en, pieces, 0) - self.ended),
                         fits.eq(total <= most), left.eq(most - total),
                         in_cap.eq(in_flight <= self.cap - PAGE_PIECES)]
            if self._leaves_room and self.places >= 4 * PAGE_PIECES:
                held, quarter = Signal(range(self.places + 1)), Signal()
                m.d.comb += self.segments.p.unproven.eq(unproven)
                with m.If(~self.segments.valid):
                    m.d.sync += unproven.eq(self.unproven & self._confines)
                m.d.sync += [
                    held.eq(held + Mux(issued_w.en & unproven, pieces, 0) - self.ended_unproven),
                    quarter.eq(held <= self.places // 4 - PAGE_PIECES),
                    in_cap.eq((in_flight <= self.cap - PAGE_PIECES) & fits
                              & (in_flight <= left >> 2)
                              & (~self.unproven | ~self._confines | quarter))]

        command_ = Signal(given_shape)
        state    = Signal(state_shape)
        line     = Signal(512)
        fresh, failed = Signal(), Signal()
        entry    = Signal(64)
        address  = Signal(64)
        length   = Signal(range(4097))
        room     = Signal(range(4097))   # in the page
        rest     = Signal(OCTETS_WIDTH)  # after this segment
        over, few = Signal(), Signal()   # nothing is left; no more than a page is
        aborted  = Signal()
        status   = Signal(11)
        misplaced = Signal()
        next_    = Signal(state_shape)  # what is kept
        pointer  = Signal(64)           # of the list to fetch
        need     = Signal(18)           # pages left
        in_line  = Signal(4)            # entries up to the end of the line
        fetched  = Signal(4)
        chained  = Signal()
        first_left = Signal(OCTETS_WIDTH)

        with m.Switch(state.index):
            for number in range(8):
                with m.Case(number):
                    m.d.comb += entry.eq(line[64 * number:][:64])
        m.d.comb += [
            given_r.addr.eq(now_.slot),
            states_r.addr.eq(now_.slot),
            lines_r.addr.eq(now_.slot),
            states_w.addr.eq(slot),
            states_w.data.eq(next_),
            *(self.segments.p[name].eq(command_[name])
              for name in ("function_id", "volume", "zeroes", "compare")),
            self.segments.p.slot.eq(slot), self.segments.p.capped.eq(1),
            self.segments.p.address.eq(address),
            self.segments.p.offset.eq(state.offset),
            self.segments.p.length.eq(length),
            self.finals.p.slot.eq(slot),
            self.finals.p.count.eq(state.pieces),
            self.finals.p.status.eq(status),
            self.reads.requests.p.function_id.eq(command_.function_id),
            self.reads.requests.p.tag.eq(slot),
            self.reads.requests.p.address.eq(pointer),
            self.reads.requests.p.length.eq(fetched << 3),
            owner.eq(command_.function_id),
            self.done_address.eq(owner),
            self.mark_slot.eq(now_.slot),
        ]
        if self.cap is not None:
            m.d.comb += [issued_r.addr.eq(owner),
                         issued_w.addr.eq(command_.function_id),
                         issued_w.data.eq(issued_r.data + pieces)]

        with m.FSM(name="walk"):
            with m.State("TURN"):
                m.d.sync += [slot.eq(now_.slot), fresh.eq(now_.fresh), failed.eq(now_.failed),
                             status.eq(0)]
                with m.If(turns.o.valid | visits):
                    m.d.comb += [turns.o.ready.eq(~visits), later.o.ready.eq(visits),
                                 spent.eq(visits)]
                    m.d.sync += prefer.eq(~visits)
                    m.next = "ROW"
            with m.State("ROW"):
                m.d.sync += [command_.eq(given_r.data), state.eq(states_r.data),
                             line.eq(lines_r.data), aborted.eq(self.marked)]
                m.d.comb += owner.eq(given_r.data.function_id)
                with m.If(fresh):
                    m.d.sync += [
                        state.mode.eq(FIRST), state.offset.eq(given_r.data.offset),
                        state.left.eq(given_r.data.octets), state.pieces.eq(0),
                    ]
                m.next = "PLACE"
            with m.State("PLACE"):
                m.d.sync += room.eq(4096)
                with m.If((state.mode == FIRST) & ~command_.zeroes):
                    m.d.sync += room.eq(4096 - command_.prp1[:12])
                with m.Switch(state.mode):
                    with m.Case(FIRST):
                        m.d.sync += address.eq(command_.prp1)
                    with m.Case(SECOND):
                        m.d.sync += address.eq(command_.prp2)
                    with m.Default():
                        m.d.sync += address.eq(entry)
                m.next = "SIZE"
            with m.State("SIZE"):
                m.d.comb += misplaced.eq(Mux(state.mode == FIRST, address[:2] != 0,
                                             address[:12] != 0) & ~command_.zeroes)
                m.d.sync += length.eq(Mux(state.left < room, state.left, room))
                with m.If(failed):
                    m.d.sync += status.eq(Status.DATA_TRANSFER_ERROR)
                    m.next = "FINAL"
                with m.Elif(aborted):
                    m.d.sync += status.eq(Status.ABORT_REQUESTED)
                    m.next = "FINAL"
                with m.Elif(misplaced):
                    m.d.sync += status.eq(Status.INVALID_PRP_OFFSET)
                    m.next = "FINAL"
                with m.Elif((state.mode == LIST) & (state.entries == 0)):
                    # The line held nothing but the pointer to the next list.
                    m.next = "FOLLOW"
                with m.Elif(~in_cap & ~command_.zeroes):
                    m.d.comb += next_.eq(state)
                    m.d.comb += states_w.en.eq(1)
                    m.next = "LATER"
                with m.Else():
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += [self.segments.valid.eq(1), rest.eq(state.left - length),
                             pieces.eq((length + 511)[9:])]
                m.d.sync += [over.eq(state.left == length), few.eq(rest <= 4096)]
                with m.If(self.segments.ready):
                    if self.cap is not None:
                        m.d.comb += issued_w.en.eq(1)
                    m.d.sync += [
                        state.offset.eq(state.offset + length),
                        state.left.eq(rest),
                        state.pieces.eq(state.pieces + pieces),
                    ]
                    m.next = "NEXT"
            with m.State("NEXT"):
                m.d.comb += next_.eq(state)
                with m.If(over):
                    m.next = "FINAL"
                with m.Elif(command_.zeroes):
                    m.d.comb += states_w.en.eq(1)
                    m.next = "AGAIN"
                with m.Elif((state.mode == FIRST) & few):
                    m.d.comb += [next_.mode.eq(SECOND), states_w.en.eq(1)]
                    m.next = "AGAIN"
                with m.Elif(state.mode == FIRST):
                    m.d.sync += pointer.eq(command_.prp2)
                    with m.If(command_.prp2[:3] != 0):
                        m.d.sync += status.eq(Status.INVALID_PRP_OFFSET)
                        m.next = "FINAL"
                    with m.Else():
                        m.next = "MEASURE"
                with m.Elif(state.index + 1 != state.entries):
                    m.d.comb += [next_.index.eq(state.index + 1), states_w.en.eq(1)]
                    m.next = "AGAIN"
                with m.Elif(state.chained):
                    m.d.sync += state.index.eq(state.index + 1)
                    m.next = "FOLLOW"
                with m.Else():
                    m.d.sync += pointer.eq(state.list)
                    m.next = "MEASURE"
            with m.State("FOLLOW"):
                m.d.sync += pointer.eq(entry)
                m.next = "MEASURE"
                with m.If(entry[:12] != 0):
                    m.d.sync += status.eq(Status.INVALID_PRP_OFFSET)
                    m.next = "FINAL"
            with m.State("MEASURE"):
                # Up to the end of the line of 64 octets, or of the transfer.
                m.d.comb += [first_left.eq(state.left + 4095),
                             in_line.eq(8 - pointer[3:6])]
                m.d.sync += [
                    need.eq(first_left[12:]),
                    fetched.eq(Mux(first_left[12:] < in_line, first_left[12:], in_line)),
                    chained.eq(pointer[6:12].all() & (first_left[12:] > in_line)),
                ]
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += [
                    self.reads.requests.valid.eq(1),
                    next_.eq(state),
                    next_.mode.eq(LIST),
                    next_.index.eq(0),
                    next_.entries.eq(fetched - chained),
                    next_.chained.eq(chained),
                    next_.list.eq(pointer + (fetched << 3)),
                    states_w.en.eq(1),
                ]
                with m.If(self.reads.requests.ready):
                    m.next = "TURN"
            with m.State("AGAIN"):
                m.d.comb += again.eq(1)
                with m.If(merge.i[2].ready):
                    m.next = "TURN"
            with m.State("LATER"):
                m.d.comb += later.i.valid.eq(1)
                with m.If(later.i.ready):
                    m.next = "TURN"
            with m.State("FINAL"):
                m.d.comb += self.finals.valid.eq(1)
                with m.If(self.finals.ready):
                    m.next = "TURN"

        return m
