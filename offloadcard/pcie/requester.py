"""DMA reads of both devices: TLPs out, completions in, answers back."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.arbiter import RoundRobin
from ..rtl.buffer import Skid
from ..rtl.ports import READ_MAX, DmaReadPort, attributes, dma_read_request, promptness
from ..rtl.tags import TagPool
from .functions import function_row, settings
from .order import COUNT_WIDTH, Fence
from .promptness import Promptness
from .reassembly import Tracker
from .reassembly_buffer import ReassemblyBuffer
from .requester_cut import Cutter
from .requester_issue import Issue, read_tlp
from .spec import credit, tlp_beat
from .window import ReadWindow

__all__ = ["ReadRequester"]

FENCE_DEPTH = 16  # requests of a port that wait for writes to leave, or for tags
LATE_US     = 4   # without completions, until a read is late (guess: hosts answer within 2)
LOW_TAGS    = 32  # tags that a function may use without Extended Tag Field Enable


class ReadRequester(wiring.Component):
    """Fetch for two ports, cut, gather, realign, and answer each request exactly once.

    ``ports`` are net's and nvme's, in this order, which is also that of the physical functions.

    Timing
    ------
    Request in → TLP out 4 cycles; last completion beat in → first beat out 7 cycles. One request
    and one beat of completions and of answers per cycle.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    ports : ``In(DmaReadPort(...)).array(2)``
        The devices.
    reads : ``Out(stream.Signature(tlp_beat(...)))``, ``completions`` : ``In(...)``
        The link.
    accepted, departed : ``In(COUNT_WIDTH)``
        Counts of writes, as of :class:`offloadcard.pcie.order.Fence`.
    rows, settings : ``In``
        The function table, as of :class:`offloadcard.pcie.front.Front`.
    headers : ``In(credit(width=8))``
        CREDIT_LIMIT of non-posted headers.
    link_up : ``In(1)``
        Low refuses requests and ends those that are out.
    begun, ended : ``Out(stream.Signature(function_id_width, always_ready=True))``
        The function of a request that got its slot; of one that was answered.
    free_tags : ``Out(range(pcie_tags + 1))``
        Tags that nobody has.
    told : ``Out(promptness(...))``
        Whose reads are answered in time, and whose are late.
    passing : ``Out(1)``
        As of :class:`offloadcard.pcie.requester_issue.Issue`.
    notices : ``Out``
        ``unexpected``, ``malformed``, ``poisoned``, ``aborted``, ``timed_out``, ``function_id``,
        ``header``: what the tracker saw.
    """

    def __init__(self, config):
        self.config = config
        self.ids    = {"function_id_width": config.function_id_width}
        self.widths = {**self.ids, "tag_width": config.dma_tag_width,
                       "data_width": config.data_width}
        beat  = tlp_beat(data_width=config.data_width)
        event = stream.Signature(config.function_id_width, always_ready=True)
        super().__init__({
            "ports":       In(DmaReadPort(**self.widths)).array(2),
            "reads":       Out(stream.Signature(beat)),
            "completions": In(stream.Signature(beat, always_ready=True)),
            "accepted":    In(COUNT_WIDTH),
            "departed":    In(COUNT_WIDTH),
            "rows":        In(stream.Signature(function_row(**self.ids), always_ready=True)),
            "settings":    In(settings(**self.ids)),
            "headers":     In(credit(width=8)),
            "link_up":     In(1),
            "begun":       Out(event),
            "ended":       Out(event),
            "free_tags":   Out(range(config.pcie_tags + 1)),
            "told":        Out(promptness(**self.ids)),
            "passing":     Out(1),
            "notices":     Out(data.StructLayout({
                "unexpected": 1, "malformed": 1, "poisoned": 1, "aborted": 1, "timed_out": 1,
                "function_id": config.function_id_width, "header": 128})),
        })

    def elaborate(self, platform):
        m = Module()

        config, tags = self.config, self.config.pcie_tags
        lanes = config.data_width // 8
        m.submodules.pool = pool = TagPool(count=tags, low=LOW_TAGS, reserve=max(1, tags // 8))
        m.submodules.tracker = tracker = Tracker(
            tags=tags, timeout_cycles=config.completion_timeout_us * config.clock_mhz,
            **self.widths)
        m.submodules.buffer = buffer = ReassemblyBuffer(tags=tags, **self.widths)
        m.submodules.issue = issue = Issue(tags=tags, data_width=config.data_width, **self.ids)

        # Each port waits for itself: requests, then the pieces that want tags.
        user = data.StructLayout({
            "function_id": config.function_id_width,
            "tag":         config.dma_tag_width,
            "lane":        range(lanes),
            "length":      range(READ_MAX + 1),
            "attributes":  attributes(),
        })
        cutters = []
        for number, port in enumerate(self.ports):
            shape = dma_read_request(**self.widths)
            m.submodules[f"fence_{number}"]  = fence  = Fence(shape, depth=FENCE_DEPTH)
            m.submodules[f"cutter_{number}"] = cutter = Cutter(user, length_max=READ_MAX)
            wiring.connect(m, wiring.flipped(port.requests), fence.i)
            m.d.comb += [
                fence.accepted.eq(self.accepted),
                fence.departed.eq(self.departed),
                cutter.i.valid.eq(fence.o.valid),
                fence.o.ready.eq(cutter.i.ready),
                cutter.i.p.address.eq(fence.o.p.address),
                cutter.i.p.length.eq(fence.o.p.length),
                cutter.i.p.limit.eq(self.settings.pf[number].max_read),
                *[cutter.i.p.user[name].eq(fence.o.p[name]) for name in user.members],
                port.beats.payload.eq(buffer.beats[number].payload),
                port.beats.valid.eq(buffer.beats[number].valid),
                pool.extended[number].eq(self.settings.pf[number].extended_tag),
            ]
            cutters.append(cutter)

        # A piece gets its tag; a request's first piece also its slot, of the same number.
        tlp = read_tlp(tags=tags, **self.ids)
        m.submodules.chosen  = chosen  = Skid(tlp)
        m.submodules.arbiter = arbiter = RoundRobin(count=2)
        m.submodules.window  = window  = ReadWindow(
            slots=tags, octets=config.read_window_octets, late_cycles=LATE_US * config.clock_mhz)
        number = arbiter.grant
        piece  = Signal.like(cutters[0].o.payload)
        slots  = [Signal(range(tags), name=f"slot_{n}") for n in range(2)]
        counts = [Signal(3, name=f"index_{n}") for n in range(2)]
        slot, index = Signal(range(tags)), Signal(3)
        m.d.comb += [
            arbiter.requests.eq(Cat(cutter.o.valid & pool.offered[n]
                                    & (window.open | ~cutter.o.p.first)
                                    for n, cutter in enumerate(cutters))),
            piece.eq(Mux(number, cutters[1].o.payload, cutters[0].o.payload)),
            chosen.i.valid.eq(arbiter.requests.any()),
            arbiter.taken.eq(chosen.i.valid & chosen.i.ready),
            pool.port.eq(number),
            pool.taken.eq(arbiter.taken),
            slot.eq(Mux(piece.first, pool.tag, Mux(number, slots[1], slots[0]))),
            index.eq(Mux(piece.first, 0, Mux(number, counts[1], counts[0]))),
        ]
        for n, cutter in enumerate(cutters):
            mine = Signal(name=f"mine_{n}")
            m.d.comb += [mine.eq(arbiter.taken & (number == n)), cutter.o.ready.eq(mine)]
            with m.If(mine):
                m.d.sync += [slots[n].eq(slot), counts[n].eq(index + 1)]

        out = chosen.i.p
        m.d.comb += [out[name].eq(piece[name]) for name in
                     ("address", "octets", "length_dw", "first_be", "last_be", "last")]
        m.d.comb += [
            out.function_id.eq(piece.user.function_id),
            out.port.eq(number),
            out.attributes.eq(piece.user.attributes),
            out.tag.eq(pool.tag),
            out.slot.eq(slot),
            out.index.eq(index),
            out.position.eq(piece.user.lane + piece.offset),
        ]
        opening = tracker.openings.p
        m.d.comb += [
            tracker.openings.valid.eq(arbiter.taken & piece.first),
            opening.slot.eq(pool.tag),
            opening.record.port.eq(number),
            *[opening.record[name].eq(piece.user[name])
              for name in ("function_id", "tag", "lane", "length")],
            self.begun.valid.eq(arbiter.taken & piece.first),
            self.begun.payload.eq(piece.user.function_id),
            window.opened.valid.eq(tracker.openings.valid), window.opened.p.slot.eq(opening.slot),
            window.opened.p.octets.eq(opening.record.length),
            window.answered.valid.eq(tracker.answers.valid),
            window.answered.p.slot.eq(tracker.answers.p.slot),
            window.answered.p.error.eq(tracker.answers.p.error),
        ]

        # A read that times out takes five quarters of the timeout, its sweep not counted.
        m.submodules.promptness = promptly = Promptness(
            tags=tags, late_cycles=LATE_US * config.clock_mhz,
            longest_cycles=2 * config.completion_timeout_us * config.clock_mhz, **self.ids)
        m.d.comb += [
            promptly.opened.valid.eq(tracker.openings.valid),
            promptly.opened.p.slot.eq(opening.slot),
            promptly.opened.p.function_id.eq(opening.record.function_id),
            promptly.answered.valid.eq(tracker.answers.valid),
            promptly.answered.p.slot.eq(tracker.answers.p.slot),
            promptly.answered.p.function_id.eq(tracker.answers.p.record.function_id),
            promptly.busy.eq(self.completions.valid), self.told.eq(promptly.told),
        ]

        wiring.connect(m, chosen.o, issue.tlps)
        wiring.connect(m, issue.launches, tracker.launches)
        wiring.connect(m, issue.refusals, tracker.refusals)
        wiring.connect(m, issue.reads, wiring.flipped(self.reads))
        wiring.connect(m, wiring.flipped(self.rows), issue.rows)
        wiring.connect(m, wiring.flipped(self.completions), tracker.completions)
        wiring.connect(m, tracker.pieces, buffer.pieces)
        wiring.connect(m, tracker.answers, buffer.answers)
        wiring.connect(m, tracker.returns, pool.returns[0])
        wiring.connect(m, buffer.returns, pool.returns[1])
        wiring.connect(m, buffer.ended, wiring.flipped(self.ended))
        m.d.comb += [
            issue.epoch.eq(tracker.epoch),
            self.passing.eq(issue.passing),
            issue.settings.eq(self.settings),
            issue.headers.eq(self.headers),
            issue.link_up.eq(self.link_up),
            tracker.link_up.eq(self.link_up),
            tracker.timeout_disable.eq(Cat(pf.timeout_disable for pf in
                                           (self.settings.pf[0], self.settings.pf[1]))),
            self.notices.function_id.eq(tracker.event_function_id),
            self.notices.header.eq(tracker.event_header),
            *[self.notices[name].eq(getattr(tracker, name)) for name in
              ("unexpected", "malformed", "poisoned", "aborted", "timed_out")],
        ]
        m.d.sync += self.free_tags.eq(pool.free)

        return m
