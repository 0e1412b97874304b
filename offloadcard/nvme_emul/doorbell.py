"""Doorbells: where the guest left each queue's pointer, and who has work."""

# Ref: nvme-base-1.4c, 3.1.24 and 3.1.25 (doorbells), 5.2 (events of invalid doorbell writes)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .layouts import doorbell_write, queue_update
from .spec import ErrorEvent

__all__ = ["Doorbell"]


class Doorbell(wiring.Component):
    """Check doorbell writes and keep them: submission tails and completion heads.

    A write to a queue that is not, or of a value outside it, is dropped, counted and told as an
    event: the last cause of each function stays in memory.

    Timing
    ------
    One write per cycle, never back-pressured; its value is in memory 3 cycles later, the cycle in
    which the work is told. An update waits for two cycles without a write.

    Parameters
    ----------
    function_id_width, qid_width : int
        Widths in bits.
    queues : int
        Queues a function has, the admin queue included; higher qids do not exist.

    Members
    -------
    writes : ``In(stream.Signature(doorbell_write(...), always_ready=True))``
        Doorbell writes of the guests.
    updates : ``In(stream.Signature(queue_update(...)))``
        Queues that begin or end.
    work : ``Out(stream.Signature(queue_id_width, always_ready=True))``
        Submission queues whose tail moved.
    wakes : ``Out(stream.Signature(function_id_width, always_ready=True))``
        Functions that took entries from a completion queue.
    events : ``Out(stream.Signature(function_id_width, always_ready=True))``
        Functions that wrote an invalid doorbell.
    tail_address, head_address : ``In(queue_id_width)``
        Queues to look up.
    tail, head : ``Out(16)``
        Their pointers, one cycle later.
    cause_address : ``In(function_id_width)``
        Function to look up.
    cause : ``Out(1)``
        Its last error (``ErrorEvent``), one cycle later.
    errors : ``Out(32)``
        Writes refused since power-up; wraps.
    """

    check_value = True  # a mutant leaves it out

    def __init__(self, *, function_id_width, qid_width, queues):
        if not 1 <= queues < 1 << qid_width:
            raise ValueError(f"`queues` must be 1 to {(1 << qid_width) - 1}, not {queues!r}")
        self.function_id_width = function_id_width
        self.qid_width = qid_width
        self.queues = queues
        width = function_id_width + qid_width
        super().__init__({
            "writes":        In(stream.Signature(
                doorbell_write(function_id_width=function_id_width), always_ready=True)),
            "updates":       In(stream.Signature(
                queue_update(function_id_width=function_id_width, qid_width=qid_width))),
            "work":          Out(stream.Signature(width, always_ready=True)),
            "wakes":         Out(stream.Signature(function_id_width, always_ready=True)),
            "events":        Out(stream.Signature(function_id_width, always_ready=True)),
            "tail_address":  In(width),
            "tail":          Out(16),
            "head_address":  In(width),
            "head":          Out(16),
            "cause_address": In(function_id_width),
            "cause":         Out(1),
            "errors":        Out(32),
        })

    def elaborate(self, platform):
        m = Module()

        depth = 1 << (self.function_id_width + self.qid_width)
        shape = data.StructLayout({"valid": 1, "size": 16})
        write, update = self.writes, self.updates

        # First cycle: look both queues up.
        w_valid, v_valid = Signal(), Signal()
        w       = Signal.like(write.payload)
        exists  = Signal()
        m.d.sync += [w_valid.eq(write.valid), w.eq(write.payload),
                     exists.eq(write.p.qid < self.queues)]
        address = Signal(self.function_id_width + self.qid_width)
        m.d.comb += [
            address.eq(Cat(w.qid[:self.qid_width], w.function_id)),
            update.ready.eq(~w_valid & ~v_valid),
        ]
        updated = Signal(self.function_id_width + self.qid_width)
        m.d.comb += updated.eq(Cat(update.p.qid, update.p.function_id))

        # Second cycle: check. Third cycle: keep.
        address_v = Signal.like(address)
        m.d.sync += [v_valid.eq(w_valid), address_v.eq(address)]
        wrong = []
        for name, valid, value, completion, address_in, out in (
                ("tails", w.tail_valid, w.tail, 0, self.tail_address, self.tail),
                ("heads", w.head_valid, w.head, 1, self.head_address, self.head)):
            queues = memory.Memory(shape=shape, depth=depth, init=[])
            values = memory.Memory(shape=16, depth=depth, init=[])
            m.submodules[f"{name}_queues"], m.submodules[name] = queues, values
            queues_w = queues.write_port()
            queues_r = queues.read_port(transparent_for=(queues_w,))
            values_w = values.write_port()
            values_r = values.read_port(transparent_for=(values_w,))
            written  = Signal(name=f"{name}_written")
            known    = Signal(name=f"{name}_known")
            inside   = Signal(name=f"{name}_inside")
            bad      = Signal(name=f"{name}_bad")
            taken    = Signal(name=f"{name}_taken")
            value_v  = Signal(16, name=f"{name}_value")
            right_v  = Signal(name=f"{name}_right")
            m.d.comb += [
                queues_r.addr.eq(Cat(write.p.qid[:self.qid_width], write.p.function_id)),
                written.eq(w_valid & valid),
                known.eq(exists & queues_r.data.valid),
                inside.eq(value <= queues_r.data.size if self.check_value else 1),
                bad.eq(written & ~(known & inside)),
                taken.eq(update.valid & update.ready & (update.p.completion == completion)),
                queues_w.addr.eq(updated),
                queues_w.data.valid.eq(update.p.valid),
                queues_w.data.size.eq(update.p.size),
                queues_w.en.eq(taken),
                values_w.addr.eq(Mux(v_valid, address_v, updated)),
                values_w.data.eq(Mux(v_valid, value_v, 0)),
                values_w.en.eq(Mux(v_valid, right_v, taken)),
                values_r.addr.eq(address_in),
                out.eq(values_r.data),
            ]
            told = self.wakes if completion else self.work
            m.d.sync += [
                value_v.eq(value[:16]), right_v.eq(written & known & inside),
                told.valid.eq(written & known & inside),
                told.payload.eq(w.function_id if completion else address),
            ]
            wrong.append((bad, known))

        # What went wrong last, per function.
        m.submodules.causes = causes = memory.Memory(
            shape=1, depth=1 << self.function_id_width, init=[])
        causes_w = causes.write_port()
        causes_r = causes.read_port(transparent_for=(causes_w,))
        (tail_bad, tail_known), (head_bad, head_known) = wrong
        m.d.comb += [
            causes_w.addr.eq(w.function_id),
            causes_w.data.eq(Mux(Mux(tail_bad, tail_known, head_known),
                                 ErrorEvent.INVALID_DOORBELL_VALUE.value,
                                 ErrorEvent.INVALID_DOORBELL_REGISTER.value)),
            causes_w.en.eq(tail_bad | head_bad),
            causes_r.addr.eq(self.cause_address),
            self.cause.eq(causes_r.data),
        ]
        m.d.sync += [self.events.valid.eq(tail_bad | head_bad),
                     self.events.payload.eq(w.function_id)]
        with m.If(tail_bad | head_bad):
            m.d.sync += self.errors.eq(self.errors + 1)

        return m
