"""MSI-X: the tables of all functions in memory, and interrupts out of them."""

# Ref: pcie-5.0, 6.1.4 (MSI-X Interrupts), 7.7.2 (MSI-X Capability and Table Structure)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..rtl.arbiter import RoundRobin
from ..rtl.buffer import Queue
from ..rtl.ports import (
    InterruptPort,
    dma_write_beat,
    lifecycle_drained,
    lifecycle_stop,
    mmio_reply,
    mmio_request,
)
from ..rtl.worklist import WorkList
from . import spec_config as spec
from .functions import function_row
from .order import COUNT_WIDTH
from .spec_config import MsixEntry

__all__ = ["MsixBank"]


class MsixBank(wiring.Component):
    """MSI-X of all functions of one device.

    One visit to a function's vectors at a time, in turn for each kind of cause: an access of the
    guest, an interrupt, a function to be scanned for pending bits because something was unmasked
    or enabled, a function to be cleared. A message only starts when it has a place to wait, so a
    link without credits stalls interrupts but never the guests' accesses.

    Timing
    ------
    An interrupt becomes a write 5 cycles after it came; one in 3 cycles. An access takes 3.

    Parameters
    ----------
    functions : int
        Number of functions; the memories have a place for each.
    vectors : int
        Vectors of a function, 1 to 64.
    function_id_width, tag_width, data_width : int
        Widths of the ports.

    Members
    -------
    interrupts : ``In(InterruptPort(...))``
        From the device.
    requests : ``In(stream.Signature(mmio_request(...)))``
        The guests' accesses to BAR 2.
    replies : ``Out(stream.Signature(mmio_reply(), always_ready=True))``
        Answers of reads.
    rows : ``In(stream.Signature(function_row(...), always_ready=True))``
        News of the function table.
    writes : ``Out(stream.Signature(dma_write_beat(...)))``
        Messages.
    stops : ``In(stream.Signature(lifecycle_stop(...), always_ready=True))``
        Functions that end.
    drained : ``Out(stream.Signature(lifecycle_drained(...)))``
        Their vectors are as after power-up.
    passing : ``Out(1)``
        A message that rows of earlier cycles let through has not left yet.
    """

    _OWN = True  # a proof's mutant looks into one table for all

    def __init__(self, *, functions, vectors, function_id_width, tag_width, data_width):
        if not 1 <= vectors <= 64:
            raise ValueError(f"`vectors` must be 1 to 64, not {vectors!r}")
        self.functions    = functions
        self.vectors      = vectors
        self.vector_width = max(1, ceil_log2(vectors))
        self.ids = ids    = {"function_id_width": function_id_width}
        beat = dma_write_beat(tag_width=tag_width, data_width=data_width, **ids)
        self.beat = beat
        super().__init__({
            "interrupts": In(InterruptPort(**ids)),
            "requests":   In(stream.Signature(mmio_request(**ids))),
            "replies":    Out(stream.Signature(mmio_reply(), always_ready=True)),
            "rows":       In(stream.Signature(function_row(**ids), always_ready=True)),
            "writes":     Out(stream.Signature(beat)),
            "stops":      In(stream.Signature(lifecycle_stop(**ids), always_ready=True)),
            "drained":    Out(stream.Signature(lifecycle_drained(**ids))),
            "passing":    Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        width = self.ids["function_id_width"]

        # --- memories ---------------------------------------------------------------------------
        # `vector_control` is kept inverted: memory begins as zero, and a vector as masked.
        entry_shape = data.ArrayLayout(32, 4)
        m.submodules.table = table = memory.Memory(
            shape=entry_shape, depth=self.functions << self.vector_width, init=[])
        table_w = table.write_port(granularity=1)
        table_r = table.read_port()
        m.submodules.pending = pending = memory.Memory(shape=self.vectors, depth=self.functions,
                                                       init=[])
        pending_w = pending.write_port()
        pending_r = pending.read_port()
        row_shape = data.StructLayout({"enable": 1, "mask": 1, "sends": 1})
        m.submodules.rows_memory = rows = memory.Memory(shape=row_shape, depth=self.functions,
                                                        init=[])
        row_w = rows.write_port()
        row_r = rows.read_port(transparent_for=(row_w,))
        m.submodules.scans = scans = WorkList(count=max(2, self.functions))
        m.submodules.ends  = ends  = WorkList(count=max(2, self.functions))
        news = self.rows.p
        m.d.comb += [
            row_w.addr.eq(news.function_id),
            row_w.data.enable.eq(news.msix_enable),
            row_w.data.mask.eq(news.msix_mask),
            # [pcie-5.0: 7.5.1.1.3] without Bus Master Enable no message is sent: it is pending.
            row_w.data.sends.eq(news.alive & news.bus_master),
            row_w.en.eq(self.rows.valid),
            ends.i.payload.eq(self.stops.p.function_id),
            ends.i.valid.eq(self.stops.valid),
        ]

        # --- the visit --------------------------------------------------------------------------
        function = Signal(width)
        vector   = Signal(self.vector_width)
        request  = Signal(mmio_request(**self.ids))
        in_range = Signal()
        clearing = Signal()
        here     = Signal(self.vectors)
        message_shape = data.StructLayout({"function_id": width, "address": 64, "data": 32})
        m.submodules.out = out = Queue(message_shape, depth=4)
        room     = Signal()
        m.d.comb += [
            room.eq(out.level < 3),
            table_r.addr.eq(Cat(vector, function if self._OWN else Const(0, width))),
            table_w.addr.eq(Cat(vector, function)),
            pending_r.addr.eq(function),
            pending_w.addr.eq(function),
            row_r.addr.eq(function),
            here.eq(1 << vector),
            out.i.p.function_id.eq(function),
            out.i.p.address.eq(Cat(Const(0, 2), table_r.data[0][2:], table_r.data[1])),
            out.i.p.data.eq(table_r.data[2]),
            self.interrupts.answers.p.function_id.eq(function),
        ]
        unmasked = Signal()  # of the vector that stands in `table_r`
        m.d.comb += unmasked.eq(table_r.data[3][0])

        # What an access finds.
        offset    = request.offset
        is_table  = Signal()
        is_pba    = Signal()
        entry     = Signal(MsixEntry)
        write_dw  = Signal(2)  # which of the two DWs
        control   = Signal()  # the access touches vector control
        table_size = 16 * self.vectors
        m.d.comb += [
            is_table.eq(offset < table_size),
            is_pba.eq(offset == spec.MSIX_PBA),
            entry.message_address.eq(Cat(table_r.data[0], table_r.data[1])),
            entry.message_data.eq(table_r.data[2]),
            entry.vector_control.eq(Cat(~unmasked, table_r.data[3][1:])),
            write_dw.eq(Cat(request.byte_enable[:4].any(), request.byte_enable[4:].any())),
            control.eq(offset[3] & request.byte_enable[4]),
        ]
        lanes  = Signal(64)
        before = Signal(64)
        after  = Signal(64)
        m.d.comb += [
            lanes.eq(Cat(bit.replicate(8) for bit in request.byte_enable)),
            before.eq(Mux(offset[3], entry.as_value()[64:], entry.as_value()[:64])),
            after.eq((before & ~lanes) | (request.data & lanes)),
        ]
        with m.If(~clearing):
            m.d.comb += [
                table_w.data[0].eq(after[:32] & 0xFFFF_FFFC),
                table_w.data[1].eq(after[32:]),
                table_w.data[2].eq(after[:32]),
                # [pcie-5.0: 7.7.2.7] but for the mask bit all is reserved.
                table_w.data[3].eq(~after[32]),
            ]

        # Pending bits still to be looked at, of a function that may send again, one picked ahead.
        scanned   = Signal(width)
        scan_bits = Signal(self.vectors)
        scan_open = Signal()  # some may be left
        picked    = Signal()
        picked_vector = Signal(self.vector_width)
        with m.If(~picked):
            m.d.sync += [picked.eq(scan_bits.any()), scan_open.eq(scan_bits.any()),
                         scan_bits.eq(scan_bits & (scan_bits - 1))]
            for number in reversed(range(self.vectors)):
                with m.If(scan_bits[number]):
                    m.d.sync += picked_vector.eq(number)
        sends = Signal()
        m.d.comb += sends.eq(row_r.data.enable & ~row_r.data.mask & row_r.data.sends)

        # Functions whose vectors are clear; their last words wait for the messages before them.
        ended_shape = data.StructLayout({"function_id": width, "mark": COUNT_WIDTH})
        m.submodules.ended = ended = Queue(ended_shape, depth=max(3, self.functions))
        entered, left = Signal(COUNT_WIDTH), Signal(COUNT_WIDTH)
        ahead  = Signal(COUNT_WIDTH)
        with m.If(out.i.valid):
            m.d.sync += entered.eq(entered + 1)
        with m.If(self.writes.valid & self.writes.ready):
            m.d.sync += left.eq(left + 1)
        m.d.comb += [
            ended.i.p.function_id.eq(function),
            ended.i.p.mark.eq(entered),
            ahead.eq(left - ended.o.p.mark),
            self.drained.valid.eq(ended.o.valid & ~ahead[-1]),
            self.drained.p.function_id.eq(ended.o.p.function_id),
            ended.o.ready.eq(self.drained.valid & self.drained.ready),
        ]
        # News rule all visits of later cycles; what has entered `out` before goes its way.
        news_mark = Signal(COUNT_WIDTH)
        passed    = Signal(COUNT_WIDTH)
        m.d.comb += passed.eq(left - news_mark)
        with m.If(self.rows.valid):
            m.d.sync += [self.passing.eq(1), news_mark.eq(entered + out.i.valid)]
        with m.Elif(~passed[-1]):
            m.d.sync += self.passing.eq(0)
        message = out.o.p
        m.d.comb += [
            self.writes.valid.eq(out.o.valid),
            out.o.ready.eq(self.writes.ready),
            self.writes.p.data.as_value().eq(message.data),
            self.writes.p.function_id.eq(message.function_id),
            self.writes.p.address.eq(message.address),
            self.writes.p.length.eq(4),
            self.writes.p.first.eq(1),
            self.writes.p.last.eq(1),
        ]

        interrupt = self.interrupts.requests
        ending    = Signal()  # the vectors of `cleared` are being cleared, from `clear_next` on
        cleared   = Signal(width)
        clear_next = Signal(self.vector_width)
        m.submodules.turn = turn = RoundRobin(count=4)
        m.d.comb += [
            turn.requests.eq(Cat(self.requests.valid, interrupt.valid & room,
                                 Mux(picked, room, ~scan_open & scans.o.valid),
                                 ending | ends.o.valid)),
        ]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(turn.requests[3] & (turn.grant == 3)):
                    # One vector at a time: an access never waits for a whole table.
                    m.d.comb += turn.taken.eq(1)
                    with m.If(ending):
                        m.d.sync += [function.eq(cleared), vector.eq(clear_next), clearing.eq(1)]
                        m.next = "CLEAR"
                    with m.Else():
                        m.d.comb += ends.o.ready.eq(1)
                        m.d.sync += [cleared.eq(ends.o.payload), clear_next.eq(0), ending.eq(1)]
                with m.Elif(turn.requests[0] & (turn.grant == 0)):
                    m.d.comb += [self.requests.ready.eq(1), turn.taken.eq(1)]
                    m.d.sync += [
                        request.eq(self.requests.payload),
                        function.eq(self.requests.p.function_id),
                        vector.eq(self.requests.p.offset[4:4 + self.vector_width]),
                    ]
                    m.next = "READ-ACCESS"
                with m.Elif(turn.requests[1] & (turn.grant == 1)):
                    m.d.comb += [interrupt.ready.eq(1), turn.taken.eq(1)]
                    m.d.sync += [
                        function.eq(interrupt.p.function_id), vector.eq(interrupt.p.vector),
                        in_range.eq(interrupt.p.vector < self.vectors),
                    ]
                    m.next = "READ-INTERRUPT"
                with m.Elif(turn.requests[2] & (turn.grant == 2)):
                    m.d.comb += turn.taken.eq(1)
                    with m.If(picked):
                        m.d.sync += [function.eq(scanned), vector.eq(picked_vector),
                                     picked.eq(0)]
                        m.next = "READ-SCAN"
                    with m.Else():
                        m.d.comb += scans.o.ready.eq(1)
                        m.d.sync += function.eq(scans.o.payload)
                        m.next = "READ-PENDING"

            with m.State("READ-INTERRUPT"):
                m.next = "INTERRUPT"
            with m.State("INTERRUPT"):
                m.d.comb += [
                    self.interrupts.answers.valid.eq(1),
                    pending_w.data.eq(pending_r.data | here),
                ]
                with m.If(in_range & row_r.data.enable):
                    with m.If(unmasked & sends):
                        m.d.comb += out.i.valid.eq(1)
                    with m.Else():
                        m.d.comb += pending_w.en.eq(1)
                m.next = "IDLE"

            with m.State("READ-ACCESS"):
                m.next = "ACCESS"
            with m.State("ACCESS"):
                m.next = "IDLE"
                with m.If(~request.write):
                    m.d.comb += [
                        self.replies.valid.eq(1),
                        self.replies.p.data.eq(Mux(is_table, before,
                                                   Mux(is_pba, pending_r.data, 0))),
                    ]
                with m.Elif(is_table):
                    m.d.comb += table_w.en.eq(Mux(offset[3], Cat(Const(0, 2), write_dw),
                                                  write_dw))
                    # A vector that is unmasked sends what waited: the function is looked at anew.
                    with m.If(control & ~after[32] & (pending_r.data & here).any() & sends):
                        m.d.comb += [scans.i.payload.eq(function), scans.i.valid.eq(1)]
                        with m.If(self.rows.valid):
                            m.next = "ACCESS"

            with m.State("READ-PENDING"):
                m.next = "PENDING"
            with m.State("PENDING"):
                m.d.sync += [scanned.eq(function), scan_open.eq(1),
                             scan_bits.eq(Mux(sends, pending_r.data, 0))]
                m.next = "IDLE"
            with m.State("READ-SCAN"):
                m.next = "SCAN"
            with m.State("SCAN"):
                with m.If((pending_r.data & here).any() & unmasked & sends):
                    m.d.comb += [
                        out.i.valid.eq(1),
                        pending_w.data.eq(pending_r.data & ~here),
                        pending_w.en.eq(1),
                    ]
                m.next = "IDLE"

            with m.State("CLEAR"):
                m.d.comb += [table_w.en.eq(-1), pending_w.en.eq(1)]
                m.d.sync += [clear_next.eq(clear_next + 1), clearing.eq(0)]
                m.next = "IDLE"
                with m.If(vector == self.vectors - 1):
                    m.d.comb += ended.i.valid.eq(1)
                    m.d.sync += ending.eq(0)

        # The news of a row comes first; the access above waits for it.
        with m.If(self.rows.valid):
            m.d.comb += [
                scans.i.payload.eq(news.function_id),
                scans.i.valid.eq(news.msix_enable & ~news.msix_mask & news.alive
                                 & news.bus_master),
            ]

        return m
