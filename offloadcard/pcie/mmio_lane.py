"""The way of memory requests to one place: a device's registers, or MSI-X."""

# Ref: pcie-5.0, 2.4.1 (Transaction Ordering Rules), 2.3.1 (Request Handling Rules)

from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Buffer, Queue
from ..rtl.ports import mmio_reply, mmio_request
from .functions import function_row, routing_id, settings
from .order import COUNT_WIDTH
from .transactions import CA, SC, UR, access, access_reply, access_request, completion

__all__ = ["MmioLane"]


class MmioLane(wiring.Component):
    """Issue writes and reads in the order the standard wants, and complete the reads.

    Writes pass reads; no read passes a write that came before it. One read is under way at a time;
    after 32 writes in a row a waiting one gets its turn. The gate is here, at the last moment: what
    is for a function that is not alive, or whose memory space is disabled, goes no further.

    Timing
    ------
    A write leaves 2 cycles after it came; one per cycle. Reads wait for their reply.

    Parameters
    ----------
    functions : int
        Number of functions.
    function_id_width : int
        Width of their ids.
    writes_depth, reads_depth : int
        Requests that wait; as many as there are credits, so that neither queue ever overflows.

    Members
    -------
    i : ``In(stream.Signature(access(...), always_ready=True))``
        Requests.
    i_write : ``In(1)``
        The present one is a write.
    accesses, access_replies
        As in :class:`offloadcard.pcie.config_space.ConfigSpace`, seen from the other side.
    rows, settings
        As in :class:`offloadcard.pcie.front.Front`.
    requests : ``Out(stream.Signature(mmio_request(...)))``
        To the place; a device is always ready.
    replies : ``In(stream.Signature(mmio_reply(), always_ready=True))``
        The place's answers to reads, in order.
    completions : ``Out(stream.Signature(completion()))``
        One per read.
    entered, left : ``Out(COUNT_WIDTH)``
        Writes that came in and went out, modulo; any number may leave while a read waits.
    write_done, read_done : ``Out(1)``
        A write left, a read was completed: their credits are free.
    dropped, refused, aborted : ``Out(1)``
        A write was dropped for its length; a request was refused (UR), aborted (CA).
    refused_function : ``Out(function_id_width)``
        Whose it was.
    refused_read : ``Out(1)``
        The refused one was a read, so its requester is told.
    """

    _GATED  = True  # a proof's mutant forgets the row
    _SINGLE = True  # another begins a read before the last one's end

    def __init__(self, *, functions, function_id_width, writes_depth, reads_depth):
        for name, depth in (("writes_depth", writes_depth), ("reads_depth", reads_depth)):
            if depth < 2 or depth & (depth - 1):
                raise ValueError(f"`{name}` must be a power of two, 2 or more, not {depth!r}")
        self.functions    = functions
        self.writes_depth = writes_depth
        self.reads_depth  = reads_depth
        self.ids = ids = {"function_id_width": function_id_width}
        super().__init__({
            "i":                In(stream.Signature(access(**ids), always_ready=True)),
            "i_write":          In(1),
            "accesses":         In(stream.Signature(access_request(**ids))),
            "access_replies":   Out(stream.Signature(access_reply(), always_ready=True)),
            "rows":             In(stream.Signature(function_row(**ids), always_ready=True)),
            "settings":         In(settings(**ids)),
            "requests":         Out(stream.Signature(mmio_request(**ids))),
            "replies":          In(stream.Signature(mmio_reply(), always_ready=True)),
            "completions":      Out(stream.Signature(completion())),
            "entered":          Out(COUNT_WIDTH),
            "left":             Out(COUNT_WIDTH),
            "write_done":       Out(1),
            "read_done":        Out(1),
            "dropped":          Out(1),
            "refused":          Out(1),
            "aborted":          Out(1),
            "refused_function": Out(function_id_width),
            "refused_read":     Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        shape  = access(**self.ids)
        marked = data.StructLayout({"access": shape, "mark": self.entered.shape()})
        m.submodules.writes = writes = Queue(shape, depth=self.writes_depth + 2, latency=1)
        m.submodules.reads  = reads  = Queue(marked, depth=self.reads_depth + 2)
        m.d.comb += [
            writes.i.payload.eq(self.i.payload),
            writes.i.valid.eq(self.i.valid & self.i_write),
            reads.i.p.access.eq(self.i.payload),
            reads.i.p.mark.eq(self.entered),
            reads.i.valid.eq(self.i.valid & ~self.i_write),
        ]
        with m.If(self.i.valid & self.i_write):
            m.d.sync += [self.entered.eq(self.entered + 1), Assert(writes.i.ready)]
        with m.If(self.i.valid & ~self.i_write):
            m.d.sync += Assert(reads.i.ready)

        row_shape = data.StructLayout({"alive": 1, "memory": 1})
        m.submodules.rows_memory = rows = memory.Memory(shape=row_shape, depth=self.functions,
                                                        init=[])
        row_w = rows.write_port()
        row_r = rows.read_port(transparent_for=(row_w,))
        m.d.comb += [
            row_w.addr.eq(self.rows.p.function_id),
            row_w.data.alive.eq(self.rows.p.alive),
            row_w.data.memory.eq(self.rows.p.memory),
            row_w.en.eq(self.rows.valid),
        ]

        # Who is next. A read comes to the head when all writes before it have left.
        m.submodules.head = head = Buffer(shape)
        reading  = Signal()  # a read, or configuration's access, is under way
        due      = Signal()  # no write before the first read is left
        ahead    = Signal.like(self.entered)  # writes that left since; never so many that it wraps
        waited   = Signal(5)
        pressed  = Signal()
        take_write, take_read, take_config = Signal(), Signal(), Signal()
        want_read, want_config = Signal(), Signal()
        config_turn = Signal()  # a read was the last, so that neither starves the other
        advance  = Signal()
        m.d.comb += [
            ahead.eq(self.left - reads.o.p.mark),
            due.eq(~ahead[-1]),
            head.i.payload.eq(reads.o.p.access),
            head.i.valid.eq(reads.o.valid & due),
            reads.o.ready.eq(head.i.ready & due),
            want_read.eq(head.o.valid & (~reading | (not self._SINGLE))
                         & ~(self.accesses.valid & config_turn)),
            want_config.eq(self.accesses.valid & ~reading & ~want_read),
            pressed.eq(waited.all()),
            take_write.eq(writes.o.valid & ~(pressed & (want_read | want_config)) & advance),
            take_read.eq(want_read & ~take_write & advance),
            take_config.eq(want_config & ~take_write & advance),
            writes.o.ready.eq(take_write),
            head.o.ready.eq(take_read),
            self.accesses.ready.eq(take_config),
        ]
        with m.If(take_read | take_config):
            m.d.sync += [waited.eq(0), config_turn.eq(take_read)]
        with m.Elif((want_read | want_config) & take_write & ~pressed):
            m.d.sync += waited.eq(waited + 1)

        # The one whose row is being read; `row_r` answers with the cycle in which it stands here.
        held       = Signal(shape)
        held_valid, held_write, held_config = Signal(), Signal(), Signal()
        held_none  = Signal()  # it touches no octet
        m.d.comb += row_r.en.eq(advance)
        with m.If(take_write):
            m.d.comb += row_r.addr.eq(writes.o.p.function_id)
        with m.Elif(take_read):
            m.d.comb += row_r.addr.eq(head.o.p.function_id)
        with m.Else():
            m.d.comb += row_r.addr.eq(self.accesses.p.function_id)
        with m.If(advance):
            m.d.sync += [
                held_valid.eq(take_write | take_read | take_config),
                held_write.eq(take_write | (take_config & self.accesses.p.write)),
                held_config.eq(take_config),
                held.eq(Mux(take_write, writes.o.payload, head.o.payload)),
                held_none.eq(Mux(take_write, writes.o.p.byte_enable == 0,
                                 head.o.p.byte_enable == 0)),
            ]
            with m.If(take_config):
                m.d.sync += [
                    held.function_id.eq(self.accesses.p.function_id),
                    held.offset.eq(self.accesses.p.offset),
                    held.byte_enable.eq(self.accesses.p.byte_enable),
                    held_none.eq(self.accesses.p.byte_enable == 0),
                    held.data.eq(self.accesses.p.data),
                    held.abort.eq(0),
                ]

        # Verdict.
        allowed = Signal()
        issue   = Signal()
        m.d.comb += [
            # Virtio's configuration access works with memory space disabled, too.
            allowed.eq((row_r.data.alive & (row_r.data.memory | held_config))
                       | (not self._GATED)),
            issue.eq(held_valid & allowed & ~held.abort & ~held_none),
            advance.eq(~issue | self.requests.ready),
            self.requests.valid.eq(issue),
            self.requests.p.function_id.eq(held.function_id),
            self.requests.p.offset.eq(held.offset),
            self.requests.p.write.eq(held_write),
            self.requests.p.byte_enable.eq(held.byte_enable),
            self.requests.p.data.eq(held.data),
        ]
        moved = Signal()
        ours  = Signal()  # a request of a guest, no configuration access
        m.d.comb += [
            moved.eq(held_valid & advance),
            ours.eq(moved & ~held_config),
            self.write_done.eq(ours & held_write),
            self.refused.eq(ours & ~allowed),
            self.refused_read.eq(~held_write),
            self.refused_function.eq(held.function_id),
            self.dropped.eq(ours & held_write & allowed & held.abort),
            self.aborted.eq(ours & ~held_write & allowed & held.abort),
        ]
        with m.If(self.write_done):
            m.d.sync += self.left.eq(self.left + 1)

        # The end of a read.
        pending   = Signal(shape)
        in_config = Signal()
        waiting   = Signal()
        status    = Signal(3)
        result    = Signal(64)
        ended     = Signal()
        config_ended = Signal()
        m.d.sync += config_ended.eq(0)
        with m.If(take_read | take_config):
            m.d.sync += reading.eq(1)
        with m.If(moved & (held_config | ~held_write)):
            m.d.sync += [
                pending.eq(held), in_config.eq(held_config),
                waiting.eq(issue & ~held_write),
                ended.eq(~held_config & ~issue),
                status.eq(Mux(~allowed, UR, Mux(held.abort, CA, SC))),
                result.eq(0),
            ]
            with m.If(held_config & ~(issue & ~held_write)):
                m.d.sync += [config_ended.eq(1), reading.eq(0)]
        with m.If(waiting & self.replies.valid):
            m.d.sync += [
                waiting.eq(0),
                result.eq(Mux(self.replies.p.error, 0, self.replies.p.data)),
                status.eq(Mux(self.replies.p.error, CA, SC)),
                ended.eq(~in_config), config_ended.eq(in_config),
            ]
            with m.If(in_config):
                m.d.sync += reading.eq(0)
        completer = routing_id(m, self.settings, pending.function_id)
        out = self.completions.p
        m.d.comb += [
            self.access_replies.valid.eq(config_ended),
            self.access_replies.p.data.eq(result),
            self.completions.valid.eq(ended),
            out.transaction.eq(pending.transaction),
            out.completer_id.eq(completer),
            out.status.eq(status),
            out.length_dw.eq(Mux(status == SC, pending.length_dw, 0)),
            out.byte_count.eq(pending.byte_count),
            out.lower_address.eq(pending.lower_address),
            out.data.eq(Mux(pending.upper, result[32:], result)),
            self.read_done.eq(ended & self.completions.ready),
        ]
        with m.If(self.read_done):
            m.d.sync += [ended.eq(0), reading.eq(0)]

        return m
