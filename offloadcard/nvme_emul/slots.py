"""Slots of commands in flight: lent, given back, and counted for who waits for the end."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Queue

from .layouts import queue_update, release, released_queue

__all__ = ["SlotPool", "Release", "Updates"]


class SlotPool(wiring.Component):
    """Slots that are free; all of them after power-up.

    Timing
    ------
    One slot taken and one given per cycle; a slot given can be taken 3 cycles later.

    Parameters
    ----------
    count : int
        Number of slots.

    Members
    -------
    take : ``Out(stream.Signature(range(count)))``
        A free slot.
    give : ``In(stream.Signature(range(count), always_ready=True))``
        A slot given back.
    """

    def __init__(self, *, count):
        self.count = count
        super().__init__({
            "take": Out(stream.Signature(range(count))),
            "give": In(stream.Signature(range(count), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.queue = queue = Queue(range(self.count), depth=self.count)
        m.d.comb += [queue.i.valid.eq(self.give.valid), queue.i.payload.eq(self.give.payload)]

        # Slots that were never lent come from a counter, so that no memory has to be filled.
        fresh = Signal(range(self.count + 1))
        with m.If(self.take.ready | ~self.take.valid):
            m.d.comb += queue.o.ready.eq(fresh == self.count)
            m.d.sync += [
                self.take.valid.eq((fresh != self.count) | queue.o.valid),
                self.take.payload.eq(Mux(fresh != self.count, fresh, queue.o.payload)),
            ]
            with m.If(fresh != self.count):
                m.d.sync += fresh.eq(fresh + 1)

        return m


class Release(wiring.Component):
    """End commands: count them per function and per submission queue, give their slots back.

    Who wants to know whether a function or a queue has commands in flight compares these counts
    with those of :class:`~offloadcard.nvme_emul.submission.Submission`.

    Timing
    ------
    One release in 2 cycles; counts are visible 2 cycles after the handshake.

    Parameters
    ----------
    function_id_width, qid_width, slot_width, count_width : int
        Widths in bits; counts wrap.

    Members
    -------
    i : ``In(stream.Signature(release(...)))``
        Commands that are over.
    slots : ``Out(stream.Signature(slot_width, always_ready=True))``
        Slots to be free again.
    released : ``Out(stream.Signature(released_queue(...), always_ready=True))``
        Whose commands ended just now.
    released_count : ``Out(4)``
        How many, with ``released``.
    function_addresses, queue_address : ``In``
        What to look up: three functions, one queue.
    functions, queue : ``Out(count_width)``
        Counts, one cycle later.
    """

    def __init__(self, *, function_id_width, qid_width, slot_width, count_width):
        self.widths = {"function_id_width": function_id_width, "qid_width": qid_width}
        self.function_id_width = function_id_width
        self.queue_id_width    = function_id_width + qid_width
        self.count_width       = count_width
        super().__init__({
            "i":        In(stream.Signature(release(slot_width=slot_width, **self.widths))),
            "slots":    Out(stream.Signature(slot_width, always_ready=True)),
            "released": Out(stream.Signature(released_queue(**self.widths), always_ready=True)),
            "released_count":     Out(4),
            "function_addresses": In(function_id_width).array(2),
            "functions":          Out(count_width).array(2),
            "queue_address":      In(self.queue_id_width),
            "queue":              Out(count_width),
        })

    def elaborate(self, platform):
        m = Module()

        width = self.count_width
        m.submodules.of_function = of_function = memory.Memory(
            shape=width, depth=1 << self.function_id_width, init=[])
        m.submodules.of_queue = of_queue = memory.Memory(
            shape=width, depth=1 << self.queue_id_width, init=[])
        i = self.i
        second = Signal()  # the rows are read, now they are written
        m.d.sync += second.eq(i.valid & ~second)
        m.d.comb += i.ready.eq(second)
        for counts, own in ((of_function, i.p.function_id),
                            (of_queue, Cat(i.p.qid, i.p.function_id))):
            counts_w = counts.write_port()
            counts_r = counts.read_port(transparent_for=(counts_w,))
            m.d.comb += [
                counts_r.addr.eq(own),
                counts_w.addr.eq(own),
                counts_w.data.eq(counts_r.data + i.p.count),
                counts_w.en.eq(second),
            ]
            if counts is of_queue:
                look = counts.read_port(transparent_for=(counts_w,))
                m.d.comb += [look.addr.eq(self.queue_address), self.queue.eq(look.data)]
                continue
            for address, out in zip(self.function_addresses, self.functions):
                look = counts.read_port(transparent_for=(counts_w,))
                m.d.comb += [look.addr.eq(address), out.eq(look.data)]
        m.d.sync += [
            self.slots.valid.eq(second & i.p.has_slot),
            self.slots.payload.eq(i.p.slot),
            self.released.valid.eq(second),
            self.released.p.function_id.eq(i.p.function_id),
            self.released.p.qid.eq(i.p.qid),
            self.released_count.eq(i.p.count),
        ]

        return m


class Updates(wiring.Component):
    """Tell several parts of a queue's beginning or end; done when each has taken it.

    Timing
    ------
    Latency 1 cycle; an update is taken in the cycle after the last part took it.

    Parameters
    ----------
    function_id_width, qid_width : int
        Widths in bits.
    count : int
        Number of parts.

    Members
    -------
    i : ``In(stream.Signature(queue_update(...)))``
        Updates.
    o : ``Out(stream.Signature(queue_update(...))).array(count)``
        The same, to each part once.
    """

    def __init__(self, *, function_id_width, qid_width, count):
        shape = queue_update(function_id_width=function_id_width, qid_width=qid_width)
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)).array(count),
        })
        self.count = count

    def elaborate(self, platform):
        m = Module()

        # The update rests in a register; it is done in the cycle after the last part took it.
        given = Signal.like(self.i.payload)
        full  = Signal()
        taken = Signal(self.count)
        now   = Signal(self.count)
        offers = Signal(self.count)  # `full` and not `taken`
        m.d.comb += self.i.ready.eq(full & taken.all())
        for number, part in enumerate(self.o):
            m.d.comb += [
                part.payload.eq(given),
                part.valid.eq(offers[number]),
                now[number].eq(part.valid & part.ready),
            ]
        m.d.sync += [given.eq(self.i.payload), full.eq(self.i.valid & ~self.i.ready),
                     taken.eq(Mux(self.i.ready, 0, taken | now)),
                     offers.eq(Mux(self.i.valid & ~self.i.ready, ~(taken | now), 0))]

        return m
