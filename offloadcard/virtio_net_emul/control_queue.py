"""The control queues of all functions: one engine, one command at a time."""

# Ref: virtio-1.2, 2.7 (Split Virtqueues), 5.1.6.5 (Control Virtqueue)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import DmaReadPort, DmaWritePort
from ..rtl.worklist import WorkList
from .control_command import COMMAND_OCTETS, ControlCommand
from .profile import choices, profile_row
from .side import WRITE_TAG, read_tag_width
from .spec import (
    VIRTQ_AVAIL_F_NO_INTERRUPT,
    VIRTQ_DESC_F_INDIRECT,
    VIRTQ_DESC_F_NEXT,
    VIRTQ_DESC_F_WRITE,
    VirtqAvailHeader,
    VirtqDesc,
)
from .table import Table

__all__ = ["ControlQueue"]


class ControlQueue(wiring.Component):
    """Take commands off control queues, let :class:`ControlCommand` judge them, answer.

    Each DMA waits for its answer, so what is written is in order: the ack, the used element, the
    index. A chain that is none (a loop, an id from nowhere, a read behind a write, no room for the
    ack, no header) makes the function need a reset; a command that is refused does not.

    Timing
    ------
    A command costs 3 reads for its ring, one for each descriptor and one for each readable piece
    among its first 8 octets, then 3 writes: about 4 us when the host answers in 500 ns. One
    function's slow memory holds up the commands of others, nothing else of theirs.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    doorbells : ``In(stream, always_ready)``; starts : ``In(stream)``
        Queues to look at.
    queue; setup, alive, chosen, profile
        Address and rows, 1 cycle later: what there is to know of the queue and its function.
    reads, writes : ``Out(DmaReadPort(...))``, ``Out(DmaWritePort(...))``
        DMA.
    interrupts : ``Out(stream)``; interrupted : ``In(1)``
        Function and vector; one was accepted.
    failures : ``Out(stream)``
        Functions whose driver broke the rules, or whose memory did not answer.
    checks : ``In(stream)``; checked, idle : ``Out(1)``
        Queues to be ended: is it idle? If so its row is cleared.
    receiver : ``In``; last_pair : ``Out``
        Address, and 1 cycle later: the last pair that the driver lets the device use.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        widths = {"function_id_width": g.id_width, "data_width": g.data_width}
        queue = unsigned(g.queue_bits)
        super().__init__({
            "doorbells":   In(stream.Signature(queue, always_ready=True)),
            "starts":      In(stream.Signature(queue)),
            "queue":       Out(queue),
            "setup":       In(g.setup),
            "alive":       In(1),
            "chosen":      In(choices),
            "profile":     In(profile_row),
            "reads":       Out(DmaReadPort(tag_width=read_tag_width(g), **widths)),
            "writes":      Out(DmaWritePort(tag_width=WRITE_TAG, **widths)),
            "interrupts":  Out(stream.Signature(data.StructLayout({
                "function_id": g.id_width, "vector": 16}))),
            "interrupted": In(1),
            "failures":    Out(stream.Signature(g.id_width)),
            "checks":      In(stream.Signature(queue)),
            "checked":     Out(1),
            "idle":        Out(1),
            "receiver":    In(g.row_bits),
            "last_pair":   Out(max(1, g.pair_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.work = work = WorkList(count=1 << g.row_bits)
        m.submodules.rows = rows = Table(data.StructLayout({
            "next": 16, "pair": max(1, g.pair_bits)}), depth=1 << g.row_bits, readers=2)
        m.submodules.judge = self.judge = ControlCommand(g)
        self.row   = row = Signal(g.row_bits)
        self.busy  = busy = Signal()
        self.store = store = Signal()
        self.again = again = Signal()
        m.d.comb += [
            work.i.valid.eq(self.doorbells.valid | again | self.starts.valid),
            work.i.payload.eq(Mux(self.doorbells.valid, g.function_of(self.doorbells.payload),
                                  Mux(again, row, g.function_of(self.starts.payload)))),
            self.starts.ready.eq(~self.doorbells.valid & ~again),
            self.queue.eq(Cat(Const(0, g.pair_bits), row)),
            rows.addresses[0].eq(row), rows.addresses[1].eq(self.receiver),
            self.last_pair.eq(rows.rows[1].pair),
        ]

        # A queue is idle unless it is the one at work; then its row is as after power-up.
        asked = Signal(g.row_bits)
        quiet = Signal()
        m.d.comb += [
            asked.eq(g.function_of(self.checks.payload)), self.checks.ready.eq(~store),
            quiet.eq(self.checks.valid & self.checks.ready & ~(busy & (row == asked))),
        ]
        m.d.sync += [self.checked.eq(self.checks.valid & self.checks.ready),
                     self.idle.eq(quiet)]

        # What is known while a command is at work.
        self.known = data.StructLayout({
            "setup": g.setup, "chosen": choices, "next": 16, "mask": 16})
        known = self.known = Signal(self.known)
        after = Signal(16)
        pair  = Signal.like(rows.row.pair)
        m.d.comb += [
            after.eq(known.next + 1),
            rows.address.eq(Mux(store, row, asked)), rows.enable.eq(store | quiet),
            rows.row.next.eq(Mux(store, after, 0)), rows.row.pair.eq(Mux(store, pair, 0)),
        ]
        self._answers(m)
        self._walk(m, work.o, rows.rows[0], pair, after)
        return m

    def _answers(self, m):
        """The octets of an answer, a cycle after its last beat."""
        beats = self.reads.beats
        word  = Signal(128)
        held  = Signal(64)
        self.answer, self.answered = Signal(128), Signal()
        self.refused = Signal()
        octets = beats.p.data.as_value()[:128]
        if len(octets) == 128:
            m.d.comb += word.eq(octets)
        else:
            m.d.comb += word.eq(Mux(beats.p.first, octets, Cat(held, octets)))
        m.d.sync += [self.answered.eq(beats.valid & beats.p.last), self.answer.eq(word),
                     self.refused.eq(beats.p.error)]
        with m.If(beats.valid):
            m.d.sync += held.eq(octets)

    def _read(self, m, name, address, length, then):
        """Two states: ask, and go on with ``then`` when the answer is there."""
        request = self.reads.requests
        with m.State(name):
            m.d.comb += [request.valid.eq(1), request.p.address.eq(address),
                         request.p.length.eq(length)]
            with m.If(request.ready):
                m.next = f"{name}-WAIT"
        with m.State(f"{name}-WAIT"):
            with m.If(self.answered):
                then()
                with m.If(self.refused):
                    m.next = "FAIL"

    def _write(self, m, name, address, octets, length, then):
        """Two states: write, and go on with ``then`` when it was accepted."""
        beats = self.writes.beats
        with m.State(name):
            m.d.comb += [beats.valid.eq(1), beats.p.address.eq(address),
                         beats.p.length.eq(length), beats.p.data.as_value().eq(octets)]
            with m.If(beats.ready):
                m.next = f"{name}-WAIT"
        with m.State(f"{name}-WAIT"):
            with m.If(self.writes.answers.valid):
                then()
                with m.If(self.writes.answers.p.error):
                    m.next = "FAIL"

    def _walk(self, m, work, row, pair, after):
        known, answer = self.known, self.answer
        setup, chosen = known.setup, known.chosen
        have, quiets, owed, served = Signal(16), Signal(), Signal(), Signal()
        head, index, hops  = Signal(16), Signal(16), Signal(16)
        table, limit, inner = Signal(64), Signal(17), Signal()
        desc    = Signal(VirtqDesc)
        total   = Signal(17)
        held    = Signal(range(COMMAND_OCTETS + 1))
        command = Signal(8 * COMMAND_OCTETS)
        ack, acks = Signal(64), Signal()
        size    = Signal(range(COMMAND_OCTETS + 1))
        empty, huge, broken = (Signal(name=name) for name in ("empty", "huge", "broken"))
        header  = Signal(VirtqAvailHeader)
        place   = Signal(16)
        judge   = self.judge
        m.d.comb += [
            self.reads.requests.p.function_id.eq(self.row),
            self.writes.beats.p.function_id.eq(self.row),
            # Not constants: a block that reads nothing never runs in Verilog's simulators.
            self.writes.beats.p.first.eq(self.writes.beats.valid),
            self.writes.beats.p.last.eq(self.writes.beats.valid),
            self.interrupts.p.function_id.eq(self.row),
            self.interrupts.p.vector.eq(setup.vector), self.failures.payload.eq(self.row),
            judge.octets.eq(command), judge.length.eq(total), judge.chosen.eq(chosen),
            judge.profile.eq(self.profile), judge.function_id.eq(self.row),
            header.eq(answer), place.eq(known.next & known.mask),
        ]
        next_, write, indirect = (Signal(name=name) for name in ("next", "write", "indirect"))
        m.d.comb += [next_.eq((desc.flags & VIRTQ_DESC_F_NEXT) != 0),
                     write.eq((desc.flags & VIRTQ_DESC_F_WRITE) != 0),
                     indirect.eq((desc.flags & VIRTQ_DESC_F_INDIRECT) != 0)]

        def goto(state):
            def then():
                m.next = state
            return then

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += work.ready.eq(1)
                m.d.sync += [self.row.eq(work.payload), self.busy.eq(work.valid), owed.eq(0),
                             served.eq(0)]
                with m.If(work.valid):
                    m.next = "LOAD"
            with m.State("LOAD"):
                m.next = "LOADED"
            with m.State("LOADED"):
                m.d.sync += [known.setup.eq(self.setup), known.chosen.eq(self.chosen),
                             known.next.eq(row.next), known.mask.eq(self.setup.size - 1),
                             pair.eq(row.pair)]
                m.next = "DONE"
                with m.If(self.alive & self.setup.enable):
                    m.next = "HEADER"
                    with m.If(self.setup.features.event_idx):
                        m.next = "EVENT"
            # [virtio-1.2: 2.7.10] from which entry on the driver shall notify.
            self._write(m, "EVENT", setup.device + 4 + (setup.size << 3), known.next, 2,
                        goto("HEADER"))

            def seen():
                m.d.sync += [have.eq(header.idx - known.next),
                             quiets.eq((header.flags & VIRTQ_AVAIL_F_NO_INTERRUPT) != 0)]
                m.next = "JUDGE"
            self._read(m, "HEADER", setup.driver, 4, seen)
            with m.State("JUDGE"):
                m.d.sync += owed.eq(0)
                m.next = "ENTRY"
                with m.If(served):
                    m.next = "AGAIN"
                with m.If(have == 0):
                    m.next = "DONE"
                with m.If(have > setup.size):
                    m.next = "FAIL"
                with m.If(owed & ~quiets):
                    m.next = "INTERRUPT"

            def entered():
                m.d.sync += [head.eq(answer), index.eq(answer), hops.eq(0), table.eq(setup.desc),
                             limit.eq(setup.size), inner.eq(0), total.eq(0), held.eq(0),
                             command.eq(0), acks.eq(0)]
                m.next = "CHAIN"
            self._read(m, "ENTRY", setup.driver + 4 + (place << 1), 2, entered)
            with m.State("CHAIN"):
                # [virtio-1.2: 2.7.5.3.1] no chain is longer than the queue.
                m.d.sync += hops.eq(hops + 1)
                m.next = "DESC"
                with m.If((index >= limit) | (hops > setup.size)):
                    m.next = "FAIL"

            def described():
                m.d.sync += desc.eq(answer)
                m.next = "LOOK"
            self._read(m, "DESC", table + (index << 4), 16, described)
            with m.State("LOOK"):
                m.d.sync += [
                    size.eq(Mux(desc.len < COMMAND_OCTETS - held, desc.len,
                                COMMAND_OCTETS - held)),
                    empty.eq(desc.len == 0), huge.eq(desc.len[16:] != 0),
                    # [virtio-1.2: 2.7.5.3] a table of descriptors, once, and at the end.
                    broken.eq(~chosen.indirect | inner | next_ | (desc.len == 0)
                              | (desc.len[:4] != 0) | (desc.len[20:] != 0))]
                m.next = "PIECE"
            with m.State("PIECE"):
                m.next = "NEXT"
                with m.If(indirect):
                    m.d.sync += [table.eq(desc.addr), limit.eq(desc.len >> 4), index.eq(0),
                                 inner.eq(1)]
                    m.next = "CHAIN"
                    with m.If(broken):
                        m.next = "FAIL"
                with m.Elif(write):
                    with m.If(~acks & ~empty):
                        m.d.sync += [ack.eq(desc.addr), acks.eq(1)]
                with m.Else():
                    m.d.sync += total.eq(Mux(huge | total[16],
                                             0x1FFFF, total + desc.len[:16]))
                    with m.If(acks):
                        m.next = "FAIL"
                    with m.Elif((held != COMMAND_OCTETS) & ~empty):
                        m.next = "FETCH"

            def fetched():
                octets = Cat(Mux(size > n, answer[8 * n:8 * n + 8], 0)
                             for n in range(COMMAND_OCTETS))
                m.d.sync += [command.eq(command | octets << (held << 3)), held.eq(held + size)]
                m.next = "NEXT"
            self._read(m, "FETCH", desc.addr, size, fetched)
            with m.State("NEXT"):
                m.d.sync += index.eq(desc.next)
                m.next = "CHAIN"
                with m.If(~next_):
                    m.next = "JUDGED"
                    with m.If(~acks | (total < 2)):
                        m.next = "FAIL"
            with m.State("JUDGED"):
                m.next = "ACK"
            self._write(m, "ACK", ack, judge.status, 1, goto("USED"))
            self._write(m, "USED", setup.device + 4 + (place << 3),
                        Cat(head, Const(0, 16), Const(1, 32)), 8, goto("PAIRS"))

            def used():
                m.d.comb += self.store.eq(1)
                m.d.sync += [owed.eq(~chosen.event_idx), served.eq(1)]
                m.next = "LOAD"
                with m.If(chosen.event_idx):
                    m.next = "WANTS"
            with m.State("PAIRS"):
                with m.If(judge.sets_pairs):
                    m.d.sync += pair.eq(judge.pairs - 1)
                m.next = "INDEX"
            self._write(m, "INDEX", setup.device + 2, after, 2, used)

            def wants():
                # [virtio-1.2: 2.7.7.2] the entry just used is the one to tell of.
                m.next = "LOAD"
                with m.If(answer[:16] == known.next):
                    m.next = "INTERRUPT"
            self._read(m, "WANTS", setup.driver + 4 + (setup.size << 1), 2, wants)
            with m.State("INTERRUPT"):
                m.d.comb += self.interrupts.valid.eq(1)
                with m.If(self.interrupts.ready):
                    m.next = "TOLD"
            with m.State("TOLD"):
                with m.If(self.interrupted):
                    m.next = "LOAD"
            with m.State("AGAIN"):
                # One command a turn: who always has another does not hold up the others.
                m.d.comb += self.again.eq(1)
                with m.If(~self.doorbells.valid):
                    m.next = "DONE"
            with m.State("FAIL"):
                m.d.comb += self.failures.valid.eq(1)
                with m.If(self.failures.ready):
                    m.next = "DONE"
            with m.State("DONE"):
                m.d.sync += self.busy.eq(0)
                m.next = "IDLE"
