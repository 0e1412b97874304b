"""The endpoint: TLP streams outside, ports of the devices inside."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..rtl.buffer import Buffer
from ..rtl.ports import (
    DmaReadPort,
    DmaWritePort,
    InterruptPort,
    LifecyclePort,
    ManagementPort,
    MmioPort,
    promptness,
)
from .credits import CreditGate, CreditReturn
from .endpoint_registers import EVENTS, DmaRegisters
from .front import Front
from .order import Fence, LinkGuard
from .requester import ReadRequester
from .requester_flight import Flight
from .spec import Completion, CplStatus, credits, tlp_beat
from .spec_config import (
    ERROR_MALFORMED,
    ERROR_POISONED,
    ERROR_TIMEOUT,
    ERROR_UNEXPECTED,
    NONPOSTED_CREDITS,
    NONPOSTED_DATA_CREDITS,
    POSTED_CREDITS,
    POSTED_DATA_CREDITS,
)
from .writer import Writer

__all__ = ["Endpoint"]


class Endpoint(wiring.Component):
    """Front, requester and writer behind one TLP border (decision 0001).

    Timing
    ------
    DMA request in → TLP out 4 cycles; completion in → answer out 7 cycles; write in → TLP out
    8 cycles. A beat per cycle on each stream.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    rx_requests, rx_completions : ``In(stream.Signature(tlp_beat(...), always_ready=True))``
        From the link.
    tx_reads, tx_writes, tx_completions : ``Out(stream.Signature(tlp_beat(...)))``
        To the link. Reads and completions come after all writes accepted before them.
    tx_credit_limit, rx_credit_allocated : ``In(credits())``, ``Out(credits())``
        What the link's other side granted; what the card grants.
    link_up : ``In(1)``
        The data link is up. When it falls, offers are withdrawn.
    net_mmio, nvme_mmio : ``Out(MmioPort(...))``
        Register accesses of the guests.
    net_reads, nvme_reads, net_writes, nvme_writes : ``In(DmaReadPort | DmaWritePort)``
        DMA of the devices.
    net_interrupts, nvme_interrupts : ``In(InterruptPort(...))``
        Interrupts of the devices.
    net_lifecycle, nvme_lifecycle : ``Out(LifecyclePort(...))``
        Ends of functions.
    management : ``In(ManagementPort())``
        ``spec_config.MANAGEMENT`` and ``spec.MANAGEMENT``.
    free_tags : ``Out(range(pcie_tags + 1))``
        A hint for schedulers.
    told : ``Out(promptness(...))``
        Another: whose reads are answered in time, and whose are late.
    """

    def __init__(self, config):
        self.config = config
        ids    = {"function_id_width": config.function_id_width}
        widths = {**ids, "tag_width": config.dma_tag_width, "data_width": config.data_width}
        beat   = tlp_beat(data_width=config.data_width)
        super().__init__({
            "rx_requests":         In(stream.Signature(beat, always_ready=True)),
            "rx_completions":      In(stream.Signature(beat, always_ready=True)),
            "tx_reads":            Out(stream.Signature(beat)),
            "tx_writes":           Out(stream.Signature(beat)),
            "tx_completions":      Out(stream.Signature(beat)),
            "tx_credit_limit":     In(credits()),
            "rx_credit_allocated": Out(credits()),
            "link_up":             In(1),
            "net_mmio":            Out(MmioPort(**ids)),
            "nvme_mmio":           Out(MmioPort(**ids)),
            "net_reads":           In(DmaReadPort(**widths)),
            "nvme_reads":          In(DmaReadPort(**widths)),
            "net_writes":          In(DmaWritePort(**widths)),
            "nvme_writes":         In(DmaWritePort(**widths)),
            "net_interrupts":      In(InterruptPort(**ids)),
            "nvme_interrupts":     In(InterruptPort(**ids)),
            "net_lifecycle":       Out(LifecyclePort(**ids)),
            "nvme_lifecycle":      Out(LifecyclePort(**ids)),
            "management":          In(ManagementPort()),
            "free_tags":           Out(range(config.pcie_tags + 1)),
            "told":                Out(promptness(**ids)),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        beat   = tlp_beat(data_width=config.data_width)
        m.submodules.front     = front     = Front(config)
        m.submodules.requester = requester = ReadRequester(config)
        m.submodules.writer    = writer    = Writer(config)
        m.submodules.flight    = flight    = Flight(
            functions=config.functions, function_id_width=config.function_id_width,
            in_flight=4 * config.pcie_tags + 255)
        m.submodules.registers = registers = DmaRegisters(tags=config.pcie_tags)
        link_up = Signal()
        limit   = Signal(credits())
        m.d.sync += [link_up.eq(self.link_up), limit.eq(self.tx_credit_limit)]

        # The devices.
        for number, kind in enumerate(("net", "nvme")):
            connect(m, flipped(getattr(self, f"{kind}_reads")), requester.ports[number])
            connect(m, flipped(getattr(self, f"{kind}_writes")), writer.ports[number])
            for port in ("mmio", "interrupts", "lifecycle"):
                connect(m, flipped(getattr(self, f"{kind}_{port}")),
                        getattr(front, f"{kind}_{port}"))
        connect(m, front.interrupt_writes, writer.interrupts)
        connect(m, front.messages, writer.messages)
        m.d.comb += [self.free_tags.eq(requester.free_tags), self.told.eq(requester.told)]

        # The function table.
        for part in (requester, writer):
            m.d.comb += [
                part.rows.payload.eq(front.rows.payload),
                part.rows.valid.eq(front.rows.valid),
                part.settings.eq(front.settings),
                part.link_up.eq(link_up),
            ]
        connect(m, front.requester_lifecycle, flight.lifecycle)
        connect(m, requester.begun, flight.reads_begun)
        connect(m, requester.ended, flight.reads_ended)
        connect(m, writer.begun, flight.writes_begun)
        connect(m, writer.ended, flight.writes_ended)
        m.d.comb += [
            flight.pending_function.eq(front.pending_function),
            front.pending.eq(flight.pending),
            front.passing.eq(requester.passing | writer.passing),
            front.interrupt_decided.eq(writer.interrupt_decided),
            front.link_up.eq(link_up),
        ]

        # From the link.
        connect(m, flipped(self.rx_requests), front.requests)
        connect(m, flipped(self.rx_completions), requester.completions)
        m.submodules.credit_return = granted = CreditReturn(initial={
            "ph": POSTED_CREDITS, "pd": POSTED_DATA_CREDITS,
            "nph": NONPOSTED_CREDITS, "npd": NONPOSTED_DATA_CREDITS})
        m.d.comb += [getattr(granted, f"released_{kind}").eq(front.released[kind])
                     for kind in ("ph", "pd", "nph", "npd")]
        m.d.comb += [granted.reset.eq(~link_up), self.rx_credit_allocated.eq(granted.allocated)]

        # To the link: writes first, then what may not pass them.
        connect(m, writer.writes, flipped(self.tx_writes))
        m.d.comb += [
            writer.headers.eq(limit.ph),
            writer.payload.eq(limit.pd),
            requester.headers.eq(limit.nph),
        ]
        m.submodules.fence      = fence      = Fence(beat, depth=4)
        m.submodules.completion = completion = Buffer(beat)
        m.submodules.cpl_credit = cpl_credit = CreditGate(data_max=config.data_width // 128 or 1)
        for waits in (fence, requester):
            m.d.comb += [waits.accepted.eq(writer.accepted), waits.departed.eq(writer.departed)]
        connect(m, front.completions, fence.i)
        header = Signal(Completion)
        enough = Signal()
        m.d.comb += [
            header.eq(fence.o.p.header.as_value()),
            cpl_credit.headers.eq(limit.cplh),
            cpl_credit.payload.eq(limit.cpld),
            cpl_credit.data.eq(Mux(header.fmt[1], (header["length"] + 3) >> 2, 0)),
            cpl_credit.reset.eq(~link_up),
            enough.eq(cpl_credit.enough | ~link_up),
            completion.i.payload.eq(fence.o.payload),
            completion.i.valid.eq(fence.o.valid & enough),
            fence.o.ready.eq(completion.i.ready & enough),
            cpl_credit.taken.eq(completion.i.valid & completion.i.ready),
        ]
        for name, source, out in (("reads", requester.reads, self.tx_reads),
                                  ("completions", completion.o, self.tx_completions)):
            m.submodules[f"guard_{name}"] = guard = LinkGuard(beat)
            connect(m, source, guard.i)
            connect(m, guard.o, flipped(out))
            m.d.comb += [guard.last.eq(guard.i.p.last), guard.link_up.eq(link_up)]

        # News for the front's error log, and counters.
        notices = requester.notices
        answer  = Signal(Completion)
        aborted, malformed = Signal(), Signal()
        m.d.comb += [
            answer.eq(notices.header),
            # [pcie-5.0: 2.3.2] a memory read cannot be answered with CRS.
            malformed.eq(notices.malformed | notices.aborted & (answer.status == CplStatus.CRS)),
            aborted.eq(notices.aborted & ~malformed),
        ]
        m.d.sync += [
            front.errors.valid.eq(notices.unexpected | notices.malformed | notices.poisoned
                                  | notices.aborted | notices.timed_out),
            # [sriov-1.1: 4.2.1.3] no virtual function has a bit for malformed TLPs.
            front.errors.p.function_id.eq(Mux(malformed, 0, notices.function_id)),
            front.errors.p.header.eq(notices.header),
            front.errors.p.advisory.eq(notices.unexpected),
            front.errors.p.target_abort.eq(aborted & (answer.status == CplStatus.CA)),
            # [pcie-5.0: 2.2.9] an unknown status is UR.
            front.errors.p.master_abort.eq(aborted & (answer.status != CplStatus.CA)),
            front.errors.p.error.eq(ERROR_MALFORMED),
        ]
        for name, bit in (("unexpected", ERROR_UNEXPECTED), ("poisoned", ERROR_POISONED),
                          ("timed_out", ERROR_TIMEOUT)):
            with m.If(notices[name]):
                m.d.sync += front.errors.p.error.eq(bit)
        events = {
            "read_requests":  requester.begun.valid,
            "read_tlps":      self.tx_reads.valid & self.tx_reads.ready,
            "writes":         writer.begun.valid,
            "write_tlps":     self.tx_writes.valid & self.tx_writes.ready & self.tx_writes.p.last,
            "refused_writes": writer.refused,
            **{name: notices[name] for name in
               ("unexpected", "malformed", "poisoned", "aborted", "timed_out")},
        }
        m.d.sync += registers.events.eq(Cat(events[name] for name in EVENTS))
        m.d.comb += registers.free_tags.eq(requester.free_tags)
        connect(m, flipped(self.management), registers.management)
        connect(m, registers.front, front.management)

        return m
