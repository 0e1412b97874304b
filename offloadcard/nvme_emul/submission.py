"""Submission queues: whom to visit, how many entries to fetch, and what that reserves."""

# Ref: nvme-base-1.4c, 4.1 (Submission Queue and Completion Queue Definition)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Buffer

from .layouts import fetch, posted_row, queue_update, released_queue
from .schedule import Schedule
from .share import Share

__all__ = ["Submission"]

BATCH = 8  # entries of one fetch


class Submission(wiring.Component):
    """Visit queues with work in turn; fetch up to 8 entries of each, if their answers have room.

    A visit reserves for each entry a slot, a place in the completion queue, and a share of what
    the function may have in flight; what it cannot reserve stays in the guest's memory. A queue
    that waits for its own completion queue or its own function's share is *starved*: it is visited
    again when that function frees something.

    A visit to the event queue reserves like any other and yields an entry without a fetch.

    Timing
    ------
    A visit takes 9 cycles.

    Parameters
    ----------
    function_id_width, qid_width : int
        Widths in bits.
    queues : int
        Queues a function has, the admin queue included.
    slots, cap : int
        Commands in flight, of all functions and of one.
    functions : int
        Functions that have commands, at most half of ``slots``: each has a slot of its own. Of the
        others nobody holds more than are left free.
    fetches : int
        Fetches in flight, beside one of one entry that is each function's own; of the others a
        function has a quarter at most, and no more than are left.
    count_width : int
        Width of the counts of commands; they wrap.

    Members
    -------
    work, wakes : ``In(stream.Signature(..., always_ready=True))``
        Queues whose tail moved, functions that took completions.
    events : ``In(stream.Signature(function_id_width))``
        Functions whose event queue shall be visited.
    updates : ``In(stream.Signature(queue_update(...)))``
        Queues that begin or end.
    released, released_count : ``In``
        As of :class:`~offloadcard.nvme_emul.slots.Release`.
    fetches : ``Out(stream.Signature(fetch(...)))``
        Entries to fetch.
    allowed_address : ``Out(function_id_width)``
        Function to look up.
    allowed : ``In(1)``
        Its allowances let its I/O queues be visited, one cycle later.
    exceeded : ``Out(stream.Signature(function_id_width, always_ready=True))``
        Functions that had to wait for their allowances.
    refills : ``In(stream.Signature(function_id_width))``
        Functions that may be visited again.
    fetches_left : ``In(range(fetches + 1))``
        Fetches that nobody has, of those that are nobody's own.
    tail_address, tail, head_address, head, posted_address, posted, done_address, done, fetched :
        Looks up a queue's tail, a completion queue's head and state, a function's ended commands
        and ended fetches.
    function_addresses, queue_address, sqhd_address : ``In``
        What others look up: commands fetched of a function, of a queue; a queue's head.
    functions, queue, sqhd : ``Out``
        Values, one cycle later.
    busy : ``Out(range(slots + 1))``
        Commands in flight.
    """

    check_room = True  # a mutant leaves it out
    _keeps_slots = True    # another does not: slots are whoever's comes first
    _keeps_fetches = True  # nor does another: fetches are

    def __init__(self, *, function_id_width, qid_width, queues, slots, cap, functions, fetches,
                 count_width):
        if not 1 <= functions <= slots // 2:
            raise ValueError(f"`functions` must be 1 to half of `slots`, not {functions!r}")
        if not BATCH <= cap <= slots:
            raise ValueError(f"`cap` must be {BATCH} to `slots`, not {cap!r}")
        if fetches < 4:
            raise ValueError(f"`fetches` must be at least 4, not {fetches!r}")
        self.fetches_in_flight = fetches
        self.widths = {"function_id_width": function_id_width, "qid_width": qid_width}
        self.function_id_width, self.qid_width = function_id_width, qid_width
        self.queues, self.slots, self.cap = queues, slots, cap
        self.functions = functions
        self.count_width = count_width
        width = function_id_width + qid_width
        super().__init__({
            "work":     In(stream.Signature(width, always_ready=True)),
            "wakes":    In(stream.Signature(function_id_width, always_ready=True)),
            "events":   In(stream.Signature(function_id_width)),
            "updates":  In(stream.Signature(queue_update(**self.widths))),
            "released": In(stream.Signature(released_queue(**self.widths), always_ready=True)),
            "released_count": In(4),
            "fetches":  Out(stream.Signature(fetch(**self.widths))),
            "tail_address":     Out(width),
            "tail":             In(16),
            "head_address":     Out(width),
            "head":             In(16),
            "posted_address":   Out(width),
            "posted":           In(posted_row()),
            "done_address":     Out(function_id_width),
            "done":             In(count_width),
            "fetched":          In(count_width),
            "fetches_left":     In(range(fetches + 1)),
            "allowed_address":  Out(function_id_width),
            "allowed":          In(1),
            "exceeded":         Out(stream.Signature(function_id_width, always_ready=True)),
            "refills":          In(stream.Signature(function_id_width)),
            "function_address": In(function_id_width),
            "function":         Out(count_width),
            "queue_address":    In(width),
            "queue":            Out(count_width),
            "sqhd_address":     In(width),
            "sqhd":             Out(16),
            "busy":             Out(range(slots + 1)),
        })

    def elaborate(self, platform):
        m = Module()

        width     = self.function_id_width + self.qid_width
        event_qid = (1 << self.qid_width) - 1
        depth     = 1 << width

        def rows(name, shape, depth=depth, extra=None):
            m.submodules[name] = store = memory.Memory(shape=shape, depth=depth, init=[])
            write = store.write_port()
            read  = store.read_port(transparent_for=(write,))
            if extra is not None:
                other = store.read_port(transparent_for=(write,))
                m.d.comb += [other.addr.eq(extra[0]), extra[1].eq(other.data)]
            return write, read

        m.submodules.schedule = schedule = Schedule(queues=self.queues, **self.widths)
        for name in ("work", "wakes", "released"):
            source, target = getattr(self, name), getattr(schedule, name)
            m.d.comb += [target.valid.eq(source.valid), target.payload.eq(source.payload)]
        m.submodules.again = again = Buffer(schedule.again.payload.shape())
        wiring.connect(m, again.o, schedule.again)
        wiring.connect(m, wiring.flipped(self.events), schedule.events)
        wiring.connect(m, wiring.flipped(self.refills), schedule.refills)

        sq_w, sq_r = rows("sqs", data.StructLayout(
            {"valid": 1, "size": 16, "base": 64, "cqid": self.qid_width}))
        cq_w, cq_r             = rows("cqs", 16)
        head_w, head_r         = rows("heads", 16, extra=(self.sqhd_address, self.sqhd))
        reserved_w, reserved_r = rows("reserved", 16)
        starved_w, starved_r   = rows("starved", 1, extra=(schedule.starved_address,
                                                           schedule.starved))
        function_w, function_r = rows("of_function", self.count_width,
                                      1 << self.function_id_width,
                                      extra=(self.function_address, self.function))
        fetches_w, fetches_r   = rows("fetches_of_function", self.count_width,
                                      1 << self.function_id_width)
        queue_w, queue_r       = rows("of_queue", self.count_width,
                                      extra=(self.queue_address, self.queue))

        # Slots that nobody has.
        free  = Signal(range(self.slots + 1), init=self.slots)
        taken = Signal(4)
        back  = Signal(4)
        m.d.comb += [self.busy.eq(self.slots - free),
                     back.eq(Mux(self.released.valid, self.released_count, 0))]
        m.d.sync += free.eq(free - taken + back)
        # Those that are nobody's own. A visit reads `few` 6 cycles or more after the last take.
        places = self.slots - self.functions * int(self._keeps_slots)
        left   = Signal(range(places + 1), init=places)
        m.submodules.share = share = Share(function_id_width=self.function_id_width, places=places)
        few    = Signal()
        m.d.sync += [left.eq(places - share.used), few.eq(left < BATCH)]

        queue_id    = Signal(width)
        function_id = queue_id[self.qid_width:]
        is_event    = Signal()
        limited     = Signal()  # an I/O queue: allowances count
        sq          = Signal.like(sq_r.data)
        tail, head  = Signal(16), Signal(16)
        span        = Signal(17)  # where a fetch has to end: the tail, or the queue's end
        was_starved = Signal()
        in_flight   = Signal(self.count_width)
        fetching    = Signal(self.count_width)
        of_queue    = Signal(self.count_width)
        of_function = Signal(self.count_width)
        fetches_of  = Signal(self.count_width)
        posted      = Signal.like(self.posted)
        cq_head     = Signal(16)
        reserved    = Signal(16)
        pending     = Signal(16)
        cq_last     = Signal(16)
        cq_entries  = Signal(17)
        ahead       = Signal(signed(17))  # entries that the guest has not taken, or less 1 round
        usable      = Signal(signed(18))
        occupied    = Signal(17)
        room        = Signal(signed(19))
        waiting     = Signal(16)
        limit       = Signal(4)
        single      = Signal()  # one entry: by what is its own
        count       = Signal(4)
        over, held  = Signal(), Signal()  # over its share; over its allowances
        tight       = Signal()  # of the slots that are shared there are too few for a batch
        alone       = Signal()  # it has none: its own is free
        scarce      = Signal()  # the same of fetches
        lone        = Signal()
        nothing     = Signal()
        none        = Signal()  # `count` is 0
        fetch_at    = Signal(64)
        address     = Signal(width)
        cq_id       = Signal(width)
        next_head   = Signal(17)
        wrapped     = Signal(16)
        more        = Signal()
        update      = self.updates
        updated     = Signal(width)
        m.d.comb += [
            updated.eq(Cat(update.p.qid, update.p.function_id)),
            # What a visit begins with is looked up before it is known that it begins.
            address.eq(schedule.o.payload),
            sq_r.addr.eq(address), head_r.addr.eq(address), starved_r.addr.eq(address),
            queue_r.addr.eq(address), function_r.addr.eq(address[self.qid_width:]),
            fetches_r.addr.eq(address[self.qid_width:]),
            self.tail_address.eq(address), self.done_address.eq(address[self.qid_width:]),
            self.allowed_address.eq(address[self.qid_width:]),
            self.exceeded.payload.eq(function_id),
            cq_id.eq(Cat(sq_r.data.cqid, function_id)),
            cq_r.addr.eq(cq_id), reserved_r.addr.eq(cq_id),
            self.head_address.eq(cq_id), self.posted_address.eq(cq_id),
            sq_w.addr.eq(updated), cq_w.addr.eq(updated), cq_w.data.eq(update.p.size),
            *(sq_w.data[name].eq(update.p[name]) for name in ("valid", "size", "base", "cqid")),
            head_w.addr.eq(queue_id), starved_w.addr.eq(queue_id),
            queue_w.addr.eq(queue_id), queue_w.data.eq(of_queue + count),
            function_w.addr.eq(function_id), function_w.data.eq(of_function + count),
            fetches_w.addr.eq(function_id), fetches_w.data.eq(fetches_of + 1),
            reserved_w.addr.eq(Cat(sq.cqid, function_id)), reserved_w.data.eq(reserved + count),
            next_head.eq(head + count),
            *(self.fetches.p[name].eq(value) for name, value in {
                "function_id": function_id, "qid": queue_id[:self.qid_width], "cqid": sq.cqid,
                "address": fetch_at, "count": count, "event": is_event,
                "own": scarce}.items()),
        ]
        m.d.comb += [
            share.takes.valid.eq(taken != 0), share.takes.p.count.eq(taken),
            share.takes.p.function_id.eq(function_id),
            share.returns.valid.eq(self.released.valid), share.returns.p.count.eq(back),
            share.returns.p.function_id.eq(self.released.p.function_id),
        ]
        spare = self.fetches_in_flight // 4

        with m.FSM(name="visit"):
            with m.State("IDLE"):
                # An update never meets a visit half done.
                with m.If(update.valid):
                    m.next = "UPDATE"
                with m.Elif(schedule.o.valid):
                    m.d.comb += schedule.o.ready.eq(1)
                    m.d.sync += [
                        queue_id.eq(schedule.o.payload),
                        is_event.eq(schedule.o.payload[:self.qid_width] == event_qid),
                        limited.eq((schedule.o.payload[:self.qid_width] != event_qid)
                                   & (schedule.o.payload[:self.qid_width] != 0)),
                    ]
                    m.next = "QUEUE"
            with m.State("UPDATE"):
                m.d.comb += [
                    update.ready.eq(1),
                    *(port.addr.eq(updated) for port in (head_w, starved_w, reserved_w)),
                    *(port.en.eq(~update.p.completion) for port in (sq_w, head_w, starved_w)),
                    *(port.en.eq(update.p.completion) for port in (cq_w, reserved_w)),
                    reserved_w.data.eq(0),
                ]
                m.next = "IDLE"
            with m.State("QUEUE"):
                m.d.sync += [
                    sq.eq(sq_r.data), tail.eq(self.tail), head.eq(head_r.data),
                    was_starved.eq(starved_r.data), of_queue.eq(queue_r.data),
                    of_function.eq(function_r.data), in_flight.eq(function_r.data - self.done),
                    fetches_of.eq(fetches_r.data), fetching.eq(fetches_r.data - self.fetched),
                    held.eq(limited & ~self.allowed),
                ]
                m.next = "ROOM"
            with m.State("ROOM"):
                m.d.sync += [
                    reserved.eq(reserved_r.data), cq_last.eq(cq_r.data),
                    posted.eq(self.posted), cq_head.eq(self.head),
                    # Up to the wrap, and up to the next multiple of 8 entries.
                    span.eq(Mux(tail >= head, tail, sq.size + 1)),
                    limit.eq(BATCH - head[:3]),
                    over.eq((in_flight > self.cap - BATCH) | (fetching >= spare)),
                ]
                m.next = "DIFFERENCES"
            with m.State("DIFFERENCES"):
                m.d.sync += [
                    pending.eq(reserved - posted.finished), ahead.eq(posted.tail - cq_head),
                    waiting.eq(Mux(is_event, 1, span - head)), cq_entries.eq(cq_last + 1),
                    # A share shrinks as slots become few, so that whoever has none finds some,
                    # however many hold theirs. It is given in batches: compared, not subtracted.
                    tight.eq(few | (in_flight > left)), alone.eq(in_flight == 0),
                    scarce.eq((fetching >= self.fetches_left) & int(self._keeps_fetches)),
                    lone.eq(fetching == 0),
                    over.eq(over | ((fetching >= self.fetches_left)
                                    & int(not self._keeps_fetches))),
                ]
                m.next = "OCCUPIED"
            with m.State("OCCUPIED"):
                # One entry of a completion queue stays empty: `last` entries are of use.
                m.d.sync += [
                    occupied.eq(ahead + Mux(ahead < 0, cq_entries, 0)),
                    usable.eq(cq_last - pending),
                    limit.eq(Mux(waiting < limit, waiting, limit)),
                    over.eq(over | held | (tight & ~alone) | (scarce & ~lone)),
                ]
                m.next = "SHARE"
            with m.State("SHARE"):
                m.d.sync += [
                    single.eq(tight | scarce),
                    room.eq(usable - occupied), nothing.eq(~sq.valid | (limit == 0)),
                    fetch_at.eq(sq.base + (head << 6)),
                ]
                m.next = "COUNT"
            with m.State("COUNT"):
                m.d.sync += count.eq(Mux(single, 1, limit))
                with m.If(~single & (room < limit) & int(self.check_room)):
                    m.d.sync += count.eq(Mux(room < 0, 0, room[:4]))
                with m.If(over):
                    m.d.sync += count.eq(0)
                # `limit` of 0 is `nothing`.
                m.d.sync += none.eq(over | ((room <= 0) & int(self.check_room)))
                m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += wrapped.eq(Mux(next_head > sq.size, 0, next_head))
                with m.If(nothing):
                    m.d.comb += starved_w.en.eq(was_starved)
                    m.next = "IDLE"
                with m.Elif(none):
                    # Starved. It is said first and looked at once more: no wake is missed.
                    m.d.comb += [
                        starved_w.data.eq(1), starved_w.en.eq(1),
                        again.i.valid.eq(~was_starved),
                    ]
                    with m.If(was_starved | again.i.ready):
                        m.d.comb += self.exceeded.valid.eq(held & ~was_starved)
                        m.next = "IDLE"
                with m.Else():
                    m.d.comb += [
                        starved_w.en.eq(was_starved), queue_w.en.eq(1), function_w.en.eq(1),
                        reserved_w.en.eq(1), fetches_w.en.eq(1), taken.eq(count),
                    ]
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += [self.fetches.valid.eq(1), head_w.data.eq(wrapped),
                             head_w.en.eq(~is_event)]
                m.d.sync += more.eq((wrapped != tail) & ~is_event)
                with m.If(self.fetches.ready):
                    m.next = "MORE"
            with m.State("MORE"):
                # Another visit finds what is left.
                m.d.comb += again.i.valid.eq(more)
                with m.If(~more | again.i.ready):
                    m.next = "IDLE"
        m.d.comb += again.i.payload.eq(queue_id)

        return m
