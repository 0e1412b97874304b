"""Chains of descriptors: checked one by one, cut into segments, followed to their end."""

# Ref: virtio-1.2, 2.7.5 (The Virtqueue Descriptor Table), 5.1.6 (Device Operation)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import DmaReadPort
from .spec import (
    FRAME_MIN,
    NET_HDR_OCTETS,
    VIRTQ_DESC_F_INDIRECT,
    VIRTQ_DESC_F_NEXT,
    VIRTQ_DESC_F_WRITE,
    VirtqDesc,
)
from .table import Pool, Table

__all__ = ["Chain"]


class Chain(wiring.Component):
    """Judge each descriptor and say what octets of the packet it holds; ask for the next one.

    Chains of different entries are walked at the same time, each with its own place in memory.
    A descriptor that refers to an indirect table is no segment: the chain goes on at the table's
    first entry, and within the table.

    ``error`` ends a chain whose driver broke the rules: an INDIRECT that was not negotiated, that
    stands in a table itself or has a successor, a table of no or of half a descriptor, a direction
    that does not fit, an id from nowhere, more descriptors than the queue or the table has (a
    loop), a frame too long or too short. A receive chain ends where the packet ends; ``short``
    tells that the chain ended first.

    Timing
    ------
    One descriptor per cycle; a segment leaves 2 cycles after its descriptor came.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    receive : bool
        The chains are the driver's receive buffers.

    Members
    -------
    heads : ``In(stream(head))``
        First descriptors, and markers, which pass in order.
    batch, batch_row
        Address of the batch table's row, which follows by 1 cycle.
    reads : ``Out(DmaReadPort(...))``
        DMA.
    segments : ``Out(stream(segment))``
        What came of each descriptor, and the markers.
    """

    # What a mutant changes: count the descriptors of a chain.
    _counts_hops = True

    def __init__(self, geometry, *, receive):
        self.geometry = g = geometry
        self.receive  = receive
        self.tag_width = (g.next_tags - 1).bit_length()
        super().__init__({
            "heads":     In(stream.Signature(g.head)),
            "batch":     Out(range(g.batches)),
            "batch_row": In(g.batch_row),
            "reads":     Out(DmaReadPort(function_id_width=g.id_width, tag_width=self.tag_width,
                                         data_width=g.data_width)),
            "segments":  Out(stream.Signature(g.segment)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        follow = data.StructLayout({
            "slot": g.slot, "address": 64, "function_id": g.id_width})
        m.submodules.segments = segments = Queue(g.segment, depth=8, latency=0)
        m.submodules.follows  = follows  = Queue(follow, depth=8)
        # A tag goes home when its read was answered, so what waits here may be more than the tags:
        # also the chains in ``follows`` (8) and on the way there. New ones begin only when nothing
        # waits here.
        m.submodules.nexts    = nexts    = Queue(data.StructLayout({
            "slot": g.slot, "desc": VirtqDesc, "error": 1}), depth=g.next_tags + 16)
        m.submodules.state    = state    = Table(data.StructLayout({
            "offset": 14, "hops": 13, "packet": g.packet, "inside": 1, "table": 64, "count": 13}),
            depth=1 << Shape.cast(g.slot).width)
        wiring.connect(m, segments.o, wiring.flipped(self.segments))
        self._fetch(m, follows.o, nexts.i)

        # First stage: who goes, a chain that goes on before one that begins.
        goes    = Signal()
        chained = Signal()
        head    = Signal(g.head)
        m.d.comb += [
            goes.eq((segments.level < 5) & (follows.level < 5)),
            chained.eq(nexts.o.valid),
            nexts.o.ready.eq(goes),
            self.heads.ready.eq(goes & ~chained),
            head.eq(self.heads.payload),
        ]
        with m.If(chained):
            m.d.comb += [
                head.slot.eq(nexts.o.p.slot), head.desc.eq(nexts.o.p.desc),
                head.bad.eq(nexts.o.p.error), head.marker.eq(0),
                head.start.eq(0), head.more.eq(0), head.buffers.eq(0)]
        m.d.comb += [self.batch.eq(head.slot.batch),
                     state.addresses[0].eq(head.slot.as_value())]
        valid_r   = Signal()
        chained_r = Signal()
        head_r    = Signal(g.head)
        m.d.sync += [valid_r.eq(goes & (chained | self.heads.valid)),
                     chained_r.eq(chained), head_r.eq(head)]

        # Second stage: the descriptor against what is known of its chain.
        row    = self.batch_row
        known  = state.rows[0]
        desc   = head_r.desc
        packet = Signal(g.packet)
        offset = Signal(14)
        hops   = Signal(13)
        end    = Signal(33)
        limit  = Signal(14)
        next_  = Signal()
        wrong  = Signal()
        last   = Signal()
        m.d.comb += [
            packet.eq(Mux(chained_r, known.packet, head_r.packet)),
            offset.eq(Mux(chained_r, known.offset, head_r.start)),
            hops.eq(Mux(chained_r, known.hops, 0) + 1),
            end.eq(offset + desc.len),
            next_.eq((desc.flags & VIRTQ_DESC_F_NEXT) != 0),
        ]
        inside = Signal()     # of an indirect table
        among  = Signal(16)   # descriptors there are where this one stands
        refers = Signal()
        refuse = Signal()
        writes = Signal()
        m.d.comb += [
            writes.eq((desc.flags & VIRTQ_DESC_F_WRITE) != 0),
            inside.eq(chained_r & known.inside),
            among.eq(Mux(inside, known.count, row.size)),
            # [virtio-1.2: 2.7.5.3] its own WRITE flag is ignored.
            refers.eq((desc.flags & VIRTQ_DESC_F_INDIRECT) != 0),
            refuse.eq(~row.features.indirect | inside | next_ | (desc.len[:4] != 0)
                      | (desc.len == 0) | (desc.len[4:] > g.size_max)),
        ]
        rules = [
            head_r.bad,
            Mux(refers, refuse, writes != self.receive),  # [virtio-1.2: 2.7.5.3.1]
            next_ & (desc.next >= among),
        ]
        if self._counts_hops:
            rules.append(next_ & (hops >= among))         # [virtio-1.2: 2.7.5.2] no loops
        take = Signal(14)
        short = Signal()
        if self.receive:
            full = Signal()
            m.d.comb += [
                limit.eq(packet.length + NET_HDR_OCTETS),
                full.eq((end >= limit) & ~refers),
                take.eq(Mux(full, limit - offset, desc.len)),
                wrong.eq(Cat(*rules).any() & ~(full & ~head_r.bad & writes)),
                short.eq(~next_ & ~full & ~head_r.more),
                last.eq(full | ~next_ & ~refers | wrong),
            ]
        else:
            most = min(g.config.max_frame_octets, g.frame_pages * 512)
            m.d.comb += [
                limit.eq(Mux(row.frame_pages >= g.frame_pages, most, row.frame_pages << 9)
                         + NET_HDR_OCTETS),
                take.eq(desc.len),
                wrong.eq(Cat(*rules, ~refers & (end > limit),
                             ~refers & ~next_ & (end < NET_HDR_OCTETS + FRAME_MIN)).any()),
                last.eq(~next_ & ~refers | wrong),
            ]
        out = Signal(g.segment)
        m.d.comb += [
            out.slot.eq(head_r.slot),
            out.function_id.eq(g.function_of(row.queue)),
            out.address.eq(desc.addr), out.length.eq(take), out.offset.eq(offset),
            out.last.eq(last), out.error.eq(wrong & ~head_r.marker), out.short.eq(short),
            out.packet.eq(packet), out.start.eq(head_r.start), out.more.eq(head_r.more),
            out.buffers.eq(head_r.buffers), out.csum.eq(row.features.csum),
            out.frame_pages.eq(row.frame_pages), out.count.eq(row.count),
            out.marker.eq(head_r.marker), out.upto.eq(head_r.upto),
            out.final.eq(head_r.final), out.skip.eq(head_r.skip), out.holds.eq(head_r.holds),
            out.before.eq(head_r.before),
            state.address.eq(head_r.slot.as_value()),
            state.row.offset.eq(Mux(refers, offset, end)), state.row.hops.eq(Mux(refers, 0, hops)),
            state.row.packet.eq(packet), state.row.inside.eq(inside | refers),
            state.row.table.eq(Mux(refers, desc.addr, known.table)),
            state.row.count.eq(Mux(refers, desc.len[4:], known.count)),
        ]
        goes_on = Signal()
        m.d.comb += goes_on.eq(~last & ~head_r.marker)
        m.d.comb += state.enable.eq(valid_r & goes_on)

        # Third stage: registers, then the queues.
        m.d.sync += [
            segments.i.valid.eq(valid_r & ~(goes_on & refers)), segments.i.payload.eq(out),
            follows.i.valid.eq(valid_r & goes_on),
            follows.i.p.slot.eq(head_r.slot),
            follows.i.p.function_id.eq(g.function_of(row.queue)),
            follows.i.p.address.eq(Mux(refers, desc.addr, Mux(inside, known.table, row.desc))
                                   + Mux(refers, 0, desc.next << 4)),
        ]

        return m

    def _fetch(self, m, follows, nexts):
        """Reads of one descriptor each, and their answers."""
        g = self.geometry
        m.d.sync += Assert(~nexts.valid | nexts.ready)
        m.submodules.tags  = tags  = Pool(count=g.next_tags)
        m.submodules.slots = slots = Table(g.slot, depth=g.next_tags)
        request = self.reads.requests
        m.d.comb += [
            request.valid.eq(follows.valid & tags.o.valid),
            request.p.tag.eq(tags.o.payload),
            request.p.function_id.eq(follows.p.function_id),
            request.p.address.eq(follows.p.address),
            request.p.length.eq(16),
            follows.ready.eq(request.ready & tags.o.valid),
            tags.o.ready.eq(request.ready & follows.valid),
            slots.address.eq(tags.o.payload),
            slots.row.eq(follows.p.slot),
            slots.enable.eq(follows.valid & follows.ready),
        ]
        beats = self.reads.beats
        beat  = Signal.like(beats.payload)
        valid = Signal()
        m.d.comb += slots.addresses[0].eq(beats.p.tag)
        m.d.sync += [valid.eq(beats.valid), beat.eq(beats.payload)]
        octets = Signal(128)
        if g.data_width >= 128:
            m.d.comb += octets.eq(beat.data.as_value()[:128])
        else:
            kept = Signal(64)
            with m.If(valid):
                m.d.sync += kept.eq(beat.data.as_value())
            m.d.comb += octets.eq(Cat(kept, beat.data.as_value()))
        m.d.comb += [
            tags.i.valid.eq(valid & beat.last), tags.i.payload.eq(beat.tag),
            nexts.valid.eq(valid & beat.last), nexts.p.slot.eq(slots.rows[0]),
            nexts.p.desc.eq(octets), nexts.p.error.eq(beat.error),
        ]
