"""The NVMe house: controllers of all functions behind the card's ports."""

# Ref: nvme-base-1.4c, 1.4 (Theory of Operation)

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from offloadcard.rtl.arbiter import Merge
from offloadcard.rtl.buffer import Buffer
from offloadcard.rtl.dma import DmaReadMux, DmaWriteMux
from offloadcard.rtl.ports import (
    DmaReadPort,
    DmaWritePort,
    DramPort,
    InterruptPort,
    LifecyclePort,
    ManagementPort,
    MmioPort,
)
from offloadcard.rtl.regbank import RegisterBank
from offloadcard.rtl.worklist import WorkList

from .abort import Abort
from .admin import Admin
from .allowance import STEP, Allowance
from .completion import Completion
from .cut import Tracker
from .dispatch import Dispatch
from .doorbell import Doorbell
from .fetch import Fetch
from .journal import Journal
from .lifecycle import Lifecycle
from .properties import Properties
from .prp import PrpWalk
from .ranges import Ranges
from .slots import Release, SlotPool, Updates
from .spec import MANAGEMENT, PAGE_OCTETS
from .submission import Submission
from .transfer_read import TransferRead
from .transfer_write import TransferWrite

__all__ = ["Controller"]

COUNT_WIDTH = 16  # of counts of commands, which wrap
PIECE_COUNT = 12  # of counts of pieces, which wrap


class Controller(wiring.Component):
    """NVMe 1.4 controllers, one per function, on volumes in the card's memory.

    The path of a command: ``doorbell`` → ``submission`` → ``fetch`` → ``dispatch`` → ``prp`` →
    ``transfer_read`` or ``transfer_write`` (through ``volume``) → ``completion``. Admin commands
    go from ``dispatch`` to ``admin``. See ``docs/walks/nvme_read.md``.

    Timing
    ------
    One beat per cycle of data each way at the same time; a command of one page costs at most 8
    cycles of any part. See the parts for their latencies.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    mmio : ``In(MmioPort(...))``
        Register accesses of the guests.
    reads, writes : ``Out(DmaReadPort(...))``, ``Out(DmaWritePort(...))``
        The guests' memory.
    interrupts : ``Out(InterruptPort(...))``
        MSI-X.
    lifecycle : ``In(LifecyclePort(...))``
        Functions to be stopped.
    management : ``In(ManagementPort())``
        Volumes, media, counters: ``spec.MANAGEMENT``.
    dram : ``Out(DramPort(...))``
        The store.
    free_tags : ``In(range(pcie_tags + 1))``
        A hint; the bounds per function do without it.
    busy : ``Out(1)``
        Some function is over its allowance: its commands wait for time to pass.
    """

    def __init__(self, config):
        self.config = config
        function_id = {"function_id_width": config.function_id_width}
        port = {"tag_width": config.dma_tag_width, "data_width": config.data_width, **function_id}
        super().__init__({
            "mmio":       In(MmioPort(**function_id)),
            "reads":      Out(DmaReadPort(**port)),
            "writes":     Out(DmaWritePort(**port)),
            "interrupts": Out(InterruptPort(**function_id)),
            "lifecycle":  In(LifecyclePort(**function_id)),
            "management": In(ManagementPort()),
            "dram":       Out(DramPort(**port)),
            "free_tags":  In(range(config.pcie_tags + 1)),
            "busy":       Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        queues = config.nvme_io_queues + 1
        function_id = {"function_id_width": config.function_id_width}
        queue  = {"qid_width": ceil_log2(queues + 1), **function_id}
        functions = 1 + config.nvme_vfs
        slot_width = max(4, ceil_log2(config.pcie_tags), ceil_log2(2 * functions))
        slot   = {"slot_width": slot_width}
        width  = {"data_width": config.data_width}
        slots  = 1 << slot_width
        read_tags, write_tags = slot_width, max(3, slot_width - 1)
        mdts   = ceil_log2(config.nvme_mdts_octets // PAGE_OCTETS)

        s = m.submodules
        s.properties = properties = Properties(queue_size=config.nvme_queue_size, **function_id)
        s.doorbell   = doorbell   = Doorbell(queues=queues, **queue)
        s.submission = submission = Submission(
            queues=queues, slots=slots, cap=max(16, slots // 4), functions=functions,
            fetches=slots // 4, count_width=COUNT_WIDTH, **queue)
        s.fetch      = fetch      = Fetch(
            tag_width=slot_width - 2, functions=functions, count_width=COUNT_WIDTH, **queue,
            **slot, **width)
        s.allowance  = allowance  = Allowance(**queue, **slot)
        s.pool       = pool       = SlotPool(count=slots)
        s.dispatch   = dispatch   = Dispatch(mdts_octets=config.nvme_mdts_octets, **queue, **slot)
        s.prp_read   = prp_read   = PrpWalk(**queue, **slot, **width)
        s.prp_write  = prp_write  = PrpWalk(
            cap=max(8, (1 << write_tags) // 2), places=1 << write_tags, count_width=PIECE_COUNT,
            **queue, **slot, **width)
        s.ranges     = ranges     = Ranges(**queue, **slot, **width)
        s.transfer_read  = transfer_read  = TransferRead(
            tag_width=read_tags, **function_id, **slot, **width)
        s.transfer_write = transfer_write = TransferWrite(
            tag_width=write_tags, count_width=PIECE_COUNT, **function_id, **slot, **width)
        s.tracker_read   = tracker_read   = Tracker(**slot)
        s.tracker_write  = tracker_write  = Tracker(**slot)
        s.completion = completion = Completion(**queue, **slot, **width)
        s.abort      = abort      = Abort(**queue, **slot)
        s.journal    = journal    = Journal(mdts_octets=config.nvme_mdts_octets, **queue, **slot)
        s.release    = release    = Release(count_width=COUNT_WIDTH, **queue, **slot)
        s.admin      = admin      = Admin(
            count_width=COUNT_WIDTH, io_queues=config.nvme_io_queues,
            queue_size=config.nvme_queue_size, mdts=mdts, **queue, **slot, **width)
        s.lifecycle  = lifecycle  = Lifecycle(queues=queues, count_width=COUNT_WIDTH, **queue)
        s.updates    = updates    = Updates(count=3, **queue)
        s.bank       = bank       = RegisterBank(MANAGEMENT)

        def stream(source, target):
            m.d.comb += [target.valid.eq(source.valid), target.payload.eq(source.payload)]
            if not target.signature.always_ready:
                m.d.comb += source.ready.eq(target.ready)

        def buffered(source, target, name):
            m.submodules[name] = buffer = Buffer(source.payload.shape())
            stream(source, buffer.i)
            stream(buffer.o, target)

        def merged(name, target, *sources):
            m.submodules[name] = merge = Merge(target.payload.shape(), count=len(sources))
            for source, port in zip(sources, merge.i):
                stream(source, port)
            stream(merge.o, target)

        # --- doorbells and entries --------------------------------------------------------
        wiring.connect(m, wiring.flipped(self.mmio), properties.mmio)
        stream(properties.doorbells, doorbell.writes)
        stream(properties.changes, lifecycle.changes)
        stream(doorbell.work, submission.work)
        stream(doorbell.wakes, submission.wakes)
        buffered(admin.visits, submission.events, "visits")
        stream(submission.fetches, fetch.i)
        stream(fetch.o, dispatch.i)
        stream(pool.take, dispatch.slots)
        stream(submission.exceeded, allowance.exceeded)
        stream(allowance.refills, submission.refills)
        m.d.comb += [
            doorbell.tail_address.eq(submission.tail_address), submission.tail.eq(doorbell.tail),
            doorbell.head_address.eq(submission.head_address), submission.head.eq(doorbell.head),
            completion.posted_address.eq(submission.posted_address),
            submission.posted.eq(completion.posted),
            release.function_addresses[0].eq(submission.done_address),
            submission.done.eq(release.functions[0]),
            submission.fetches_left.eq(fetch.left),
            fetch.ended_address.eq(submission.done_address), submission.fetched.eq(fetch.ended),
            allowance.allowed_address.eq(submission.allowed_address),
            submission.allowed.eq(allowance.allowed), self.busy.eq(allowance.indebted),
        ]

        # --- commands ---------------------------------------------------------------------
        for part in (prp_read, prp_write, ranges, completion, admin, allowance, abort, journal):
            stream(dispatch.commands, part.commands)
        stream(dispatch.read, prp_read.i)
        stream(dispatch.write, prp_write.i)
        stream(dispatch.admin, admin.i)
        stream(dispatch.ranges, ranges.i)
        stream(prp_read.segments, transfer_read.segments)
        buffered(prp_read.finals, tracker_read.finals, "finals_read")
        s.segment_buffer = rest = Buffer(transfer_write.segments.payload.shape())
        merged("segments", rest.i, prp_write.segments, ranges.segments)
        stream(rest.o, transfer_write.segments)
        s.finals_write = ends = Buffer(tracker_write.finals.payload.shape())
        merged("finals", ends.i, prp_write.finals, ranges.finals)
        stream(ends.o, tracker_write.finals)
        for transfer, tracker in ((transfer_read, tracker_read), (transfer_write, tracker_write)):
            stream(transfer.done, tracker.done)
            m.d.comb += [transfer.latency.eq(bank.media_latency),
                         transfer.rate.eq(bank.media_rate)]
        m.d.comb += [
            transfer_write.count_address.eq(prp_write.done_address),
            prp_write.done.eq(transfer_write.count), prp_write.ended.eq(transfer_write.ended),
            prp_write.unproven.eq(transfer_write.unproven),
            prp_write.ended_unproven.eq(transfer_write.ended_unproven),
        ]
        for number, prp in enumerate((prp_read, prp_write, ranges)):
            m.d.comb += [abort.slots[number].eq(prp.mark_slot),
                         prp.marked.eq(abort.marks[number])]

        # --- ends -------------------------------------------------------------------------
        s.admin_results = answers = Buffer(admin.results.payload.shape())
        stream(admin.results, answers.i)
        merged("results", completion.results, dispatch.results, tracker_read.results,
               tracker_write.results, answers.o)
        ended = completion.results
        for part in (abort, journal):
            m.d.comb += [
                part.ends.valid.eq(ended.valid & ended.ready), part.ends.p.slot.eq(ended.p.slot),
                part.ends.p.status.eq(ended.p.status),
                part.ends.p.told.eq(~ended.p.silent & ~ended.p.event),
            ]
        stream(admin.aborts, abort.i)
        m.d.comb += [
            admin.found.eq(abort.found), abort.function_address.eq(admin.abort_address),
            admin.aborted.eq(abort.function),
            journal.function_address.eq(admin.function_address),
            journal.entry_address.eq(admin.entry_address),
            admin.counters.eq(journal.function), admin.entry.eq(journal.entry),
            journal.clears.valid.eq(admin.clears.valid & admin.clears.ready),
            journal.clears.payload.eq(admin.clears.payload),
        ]
        merged("releases", release.i, completion.releases, fetch.faults)
        stream(release.slots, pool.give)
        stream(release.released, submission.released)
        stream(completion.faults, lifecycle.faults[0])
        m.d.comb += [
            submission.released_count.eq(release.released_count),
            completion.busy.eq(submission.busy),
            submission.sqhd_address.eq(completion.sqhd_address),
            completion.sqhd.eq(submission.sqhd),
            lifecycle.faults[1].valid.eq(fetch.faults.valid & fetch.faults.ready),
            lifecycle.faults[1].payload.eq(fetch.faults.p.function_id),
        ]

        # --- queues and controllers begin and end -------------------------------------------
        s.admin_updates = asked = Buffer(updates.i.payload.shape())
        stream(admin.updates, asked.i)
        merged("begin", updates.i, asked.o, lifecycle.updates)
        for port, part in zip(updates.o, (doorbell, submission, completion)):
            stream(port, part.updates)
        wiring.connect(m, wiring.flipped(self.lifecycle), lifecycle.lifecycle)
        stream(lifecycle.clears, properties.clears)
        stream(lifecycle.admin_clears, admin.clears)
        m.d.comb += [
            properties.word_address.eq(lifecycle.word_address), lifecycle.word.eq(properties.word),
            properties.status_write.eq(lifecycle.status_write),
            properties.status_function_id.eq(lifecycle.status_function_id),
            properties.status.eq(lifecycle.status),
            submission.function_address.eq(lifecycle.function_address),
            lifecycle.fetched.eq(submission.function),
            release.function_addresses[1].eq(lifecycle.function_address),
            lifecycle.ended.eq(release.functions[1]),
            submission.queue_address.eq(admin.queue_address), admin.fetched.eq(submission.queue),
            release.queue_address.eq(admin.queue_address), admin.ended.eq(release.queue),
            doorbell.cause_address.eq(admin.cause_address), admin.cause.eq(doorbell.cause),
        ]
        self._events(m, doorbell, admin)

        # --- DMA --------------------------------------------------------------------------
        tag_width   = config.dma_tag_width - 2  # of a client; the reads have one more bit of them
        s.read_mux  = read_mux  = DmaReadMux(count=5, tag_width=tag_width - 1, **function_id,
                                             **width)
        s.write_mux = write_mux = DmaWriteMux(count=3, tag_width=tag_width, **function_id, **width)
        for client, part in zip(read_mux.clients,
                                (fetch, prp_read, prp_write, ranges, transfer_write)):
            s += (rest := Buffer(part.reads.requests.payload.shape()))
            stream(part.reads.requests, rest.i)
            self._join(m, rest.o, client.requests)
            self._join(m, client.beats, part.reads.beats)
        for client, part in zip(write_mux.clients, (transfer_read, completion, admin)):
            self._join(m, part.writes.beats, client.beats)
            self._join(m, client.answers, part.writes.answers)
        buffered(read_mux.port.requests, self.reads.requests, "border_reads")
        buffered(write_mux.port.beats, self.writes.beats, "border_writes")
        buffered(completion.interrupts.requests, self.interrupts.requests, "border_interrupts")
        stream(self.reads.beats, read_mux.port.beats)
        stream(self.writes.answers, write_mux.port.answers)
        stream(self.interrupts.answers, completion.interrupts.answers)
        s.border_dram = border = Buffer(self.dram.reads.payload.shape())
        self._store_reads(m, border.i, transfer_read, transfer_write)
        stream(border.o, self.dram.reads)
        self._join(m, transfer_write.writes, self.dram.writes)
        self._join(m, self.dram.answers, transfer_write.answers)

        # --- management -------------------------------------------------------------------
        wiring.connect(m, wiring.flipped(self.management), bank.management)
        store = {"valid": bank.volume_flags.valid, "read_only": bank.volume_flags.read_only,
                 "blocks_4096": bank.volume_flags.blocks_4096, "base": bank.volume_base,
                 "blocks": bank.volume_blocks}
        for part in (dispatch, transfer_read, transfer_write, admin):
            m.d.comb += [
                part.volumes.valid.eq(bank.volume_store_write),
                part.volumes.p.function_id.eq(bank.volume_index.function_id),
                part.volumes.p.volume.eq(bank.volume_index.nsid - 1),
                *(part.volumes.p.row[name].eq(value) for name, value in store.items()),
            ]
        read_octets = Signal(64)
        m.d.sync += read_octets.eq(transfer_read.octets + transfer_write.compared)
        m.d.comb += [
            bank.commands.eq(dispatch.accepted), bank.refused.eq(dispatch.refused),
            bank.read_octets.eq(read_octets), bank.write_octets.eq(transfer_write.octets),
            bank.completions.eq(completion.completions),
            bank.doorbell_errors.eq(doorbell.errors), bank.busy.eq(submission.busy),
            allowance.store.eq(bank.limit_store_write),
            allowance.store_address.eq(bank.limit_index),
            allowance.row.commands.eq(bank.limit_commands.rate),
            allowance.row.commands_burst.eq(bank.limit_commands.burst),
            allowance.row.blocks.eq(bank.limit_blocks.rate),
            allowance.row.blocks_burst.eq(bank.limit_blocks.burst),
            bank.limit_round.eq(STEP << config.function_id_width),
            bank.limit_exceeded.eq(allowance.exceeded_count),
        ]

        return m

    def _join(self, m, source, target):
        """Connect streams whose payloads differ in the width of ``tag`` only."""
        m.d.comb += target.valid.eq(source.valid)
        if not target.signature.always_ready:
            m.d.comb += source.ready.eq(target.ready)
        m.d.comb += [target.p[name].eq(source.p[name]) for name in source.p.shape().members]

    def _store_reads(self, m, target, *parts):
        """Share the store's reads; the highest bit of a tag says whose the answer is."""
        m.submodules.store_reads = merge = Merge(target.payload.shape(), count=2)
        wiring.connect(m, merge.o, target)
        beats = self.dram.beats
        for number, (part, source, port) in enumerate(zip(
                parts, (parts[0].reads, parts[1].checks), merge.i)):
            mine = Signal(name=f"store_beats_{number}")
            m.d.comb += [
                port.valid.eq(source.valid), source.ready.eq(port.ready),
                *(port.p[name].eq(source.p[name]) for name in source.p.shape().members),
                port.p.tag.eq(Cat(source.p.tag, C(0, len(port.p.tag) - 1 - len(source.p.tag)),
                                  C(number, 1))),
                mine.eq(beats.p.tag[-1] == number),
                part.beats.valid.eq(beats.valid & mine),
                *(part.beats.p[name].eq(beats.p[name]) for name in beats.p.shape().members),
            ]
            with m.If(mine):
                m.d.comb += beats.ready.eq(part.beats.ready)

    def _events(self, m, doorbell, admin):
        """Doorbell errors wait as a list of functions, so that none crowds out another."""
        m.submodules.events = events = WorkList(count=1 << self.config.function_id_width)
        m.d.comb += [
            events.i.valid.eq(doorbell.events.valid),
            events.i.payload.eq(doorbell.events.payload),
            admin.events.valid.eq(events.o.valid), admin.events.payload.eq(events.o.payload),
            events.o.ready.eq(admin.events.ready),
        ]
