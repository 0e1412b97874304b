"""Order around the slow path: who must wait behind whom, and how much may be open."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .decide import KIND_DROP, KIND_EXCEPTION, KIND_FORWARD, wanted
from .spec import Reason

__all__ = ["Order", "LATENCY"]

LATENCY = 2


class Order(wiring.Component):
    """Keep the packets of a flow in order while some of them are at the slow path.

    An *order slot* (of the UFID's hash, among those of its function) counts the packets that went
    to the slow path and did not come back. While it is not 0, packets that would be forwarded
    follow them, as ``Reason.ORDER``; a lane is a pipeline without overtaking, so what comes back
    and is forwarded is ahead of whatever enters later. A slot takes ``budget`` packets until it is
    empty again, and what comes then is dropped: so it does become empty, however fast the flow is.

    The open packets of each function are limited too, and the exception queue's room is reserved
    here, so that no lane ever waits for the slow path. Who has packets open gets the queue's first
    half only: the rest is for those who have none.

    Timing
    ------
    Latency 2 cycles, one packet per cycle, also of one slot; never stalls.

    Parameters
    ----------
    slot_width : int
        log2 of the slots.
    function_id_width : int
        Width of ``function_id``.
    room : int
        Beats of the exception queue.
    budget : int
        Packets that a slot takes until it is empty.

    Members
    -------
    i, o : ``In(wanted(...))``, ``Out(wanted(...))``
        A packet; what becomes of it. ``o.counted`` says that it went to the slow path and must
        come back.
    beats : ``In``
        With ``i``: beats that it takes in the exception queue.
    limit : ``In(16)``
        Exceptions that a function may have open.
    allowed : ``In(1)``
        1 cycle after ``i``: its function may send another exception, by their rate.
    left : ``In(1)``
        A beat has left the exception queue.
    """

    # What a mutant changes: hold a hit back while its slot is open.
    _holds_back = True

    def __init__(self, *, slot_width, function_id_width, room, budget):
        if not 1 <= budget < 1 << 15:
            raise ValueError(f"`budget` must be 1 to {(1 << 15) - 1}, not {budget!r}")
        self.budget            = budget
        self.slot_width        = slot_width
        self.function_id_width = function_id_width
        self.room              = room
        super().__init__({
            "i":     In(wanted(slot_width=slot_width)),
            "o":     Out(wanted(slot_width=slot_width)),
            "beats": In(range(room + 1)),
            "limit": In(16),
            "allowed": In(1),
            "left":  In(1),
        })

    def elaborate(self, platform):
        m = Module()

        count_bits = self.budget.bit_length()
        # What follows from the counts lies beside them, so that nobody compares after the read.
        slot_shape = data.StructLayout({"open": count_bits, "admitted": count_bits, "some": 1,
                                        "full": 1})
        source_shape = data.StructLayout({"open": 16, "some": 1})
        m.submodules.slots = slots = memory.Memory(shape=slot_shape, depth=1 << self.slot_width,
                                                   init=[])
        m.submodules.sources = sources = memory.Memory(
            shape=source_shape, depth=1 << (self.function_id_width + 1), init=[])
        slot_w, source_w = slots.write_port(), sources.write_port()
        slot_r   = slots.read_port(transparent_for=(slot_w,))
        source_r = sources.read_port(transparent_for=(source_w,))
        want, beats = Signal.like(self.i), Signal.like(self.beats)

        def source_row(packet):
            return Cat(packet.source[:self.function_id_width], packet.source[12])

        m.d.comb += [slot_r.addr.eq(self.i.slot), source_r.addr.eq(source_row(self.i))]
        m.d.sync += [want.eq(self.i), beats.eq(self.beats)]
        # Flags of the wish, so that the loop below begins with what the memory says.
        excepts, follows, back, fresh = (Signal(name=name) for name in (
            "excepts", "follows", "back", "fresh"))
        m.d.sync += [
            excepts.eq(self.i.valid & (self.i.kind == KIND_EXCEPTION)),
            follows.eq(self.i.valid & (self.i.kind == KIND_FORWARD) & ~self.i.injected
                       & self._holds_back),
            back.eq(self.i.valid & self.i.counted), fresh.eq(self.i.valid & ~self.i.counted),
        ]

        # Cycle 1: one turn of the loop.
        slot, source = slot_r.data, source_r.data
        free  = Signal(range(self.room + 1), init=self.room)
        roomy = Signal(init=1)  # half of the queue is free, or was a cycle ago
        waits, asks, fits, may, fresh_ok, goes = (Signal(name=name) for name in (
            "waits", "asks", "fits", "may", "fresh_ok", "goes"))
        m.d.comb += [
            # What comes back is ahead of all that is held.
            waits.eq(follows & slot.some),
            asks.eq(excepts | waits),
            fits.eq((free >= beats) & (roomy | back | ~source.some)),
            may.eq(self.allowed | ~excepts),
            fresh_ok.eq(~slot.full & (source.open < self.limit) & may),
            goes.eq(asks & fits & (back | fresh_ok)),
        ]
        opens, closes = Signal(), Signal()
        m.d.comb += [
            opens.eq(asks & fits & fresh_ok & fresh),
            closes.eq(back & ~(excepts & fits)),
        ]
        # Both ways are ready before it is known which it is.
        opened, closed = Signal(slot_shape), Signal(slot_shape)
        more, fewer    = Signal(source_shape), Signal(source_shape)
        m.d.comb += [
            opened.open.eq(slot.open + 1), opened.admitted.eq(slot.admitted + 1),
            opened.some.eq(1), opened.full.eq(slot.admitted == self.budget - 1),
            closed.open.eq(Mux(slot.some, slot.open - 1, 0)),
            closed.some.eq(slot.open > 1),
            closed.admitted.eq(Mux(slot.open > 1, slot.admitted, 0)),
            closed.full.eq((slot.open > 1) & slot.full),
            more.open.eq(source.open + 1), more.some.eq(1),
            fewer.open.eq(Mux(source.some, source.open - 1, 0)), fewer.some.eq(source.open > 1),
            slot_w.addr.eq(want.slot), slot_w.en.eq(opens | closes),
            slot_w.data.eq(Mux(opens, opened, closed)),
            source_w.addr.eq(source_row(want)), source_w.en.eq(opens | closes),
            source_w.data.eq(Mux(opens, more, fewer)),
        ]
        m.d.sync += [free.eq(free - Mux(goes, beats, 0) + self.left),
                     roomy.eq(free >= self.room // 2)]

        # Cycle 2: what that makes of it.
        want_2, goes_2, waits_2, asks_2, fits_2, may_2 = Signal.like(want), *(
            Signal(name=name) for name in ("goes_2", "waits_2", "asks_2", "fits_2", "may_2"))
        m.d.sync += [want_2.eq(want), goes_2.eq(goes), waits_2.eq(waits), asks_2.eq(asks),
                     fits_2.eq(fits), may_2.eq(may)]
        o = self.o
        m.d.comb += [o.eq(want_2), o.counted.eq(goes_2)]
        with m.If(waits_2 & goes_2):
            m.d.comb += [o.kind.eq(KIND_EXCEPTION), o.reason.eq(Reason.ORDER)]
        with m.If(asks_2 & ~goes_2):
            m.d.comb += [o.kind.eq(KIND_DROP), o.reason.eq(Reason.EXCEPTION_LIMIT)]
            with m.If(~fits_2):
                m.d.comb += o.reason.eq(Reason.EXCEPTION_FULL)
            with m.Elif(~may_2):
                m.d.comb += o.reason.eq(Reason.NEW_FLOWS)

        return m
