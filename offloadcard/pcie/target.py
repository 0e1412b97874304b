"""The endpoint as target: the guests' requests to device registers, MSI-X and configuration."""

# Ref: pcie-5.0, 2.3.1 (Request Handling Rules), 2.2.9 (Completion Rules), 2.7.2.2 (poison)

from amaranth import *
from amaranth.hdl import Assert
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.arbiter import Merge
from ..rtl.buffer import Buffer, Queue
from ..rtl.ports import MmioPort, mmio_reply, mmio_request
from . import spec_config as spec
from .bar_decode import TO_MSIX, TO_NET, TO_NONE, TO_NVME, BarDecode
from .functions import error_event, function_row, released, settings
from .mmio_lane import MmioLane
from .receive import Receiver
from .spec import Completion, Fmt, Type, tlp_beat
from .transactions import UR, access_reply, access_request, completion, config_request

__all__ = ["Target"]


class Target(wiring.Component):
    """Take every request; give each non-posted one exactly one completion.

    The path up to the queues never stalls; each queue has room for all requests of its class that
    the credits allow. Three lanes (virtio-net, NVMe, MSI-X) do not know one another.

    Timing
    ------
    One TLP per cycle. A register write leaves for its device 7 cycles after its TLP.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    requests, completions, released, net_mmio, nvme_mmio, rows, settings
        As in :class:`offloadcard.pcie.front.Front`.
    configs : ``Out(stream.Signature(config_request()))``
        Configuration requests, behind the writes that came before them.
    config_completions : ``In(stream.Signature(completion()))``
        Their answers.
    accesses, access_replies
        As in :class:`offloadcard.pcie.config_space.ConfigSpace`, seen from the other side.
    msix_requests, msix_replies
        The MSI-X structures in BAR 2, in the shapes of MMIO; requests wait for ``ready``.
    errors : ``Out(stream.Signature(error_event(...)))``
        What is to be logged.
    counters : ``Out(data.ArrayLayout(32, 5))``
        Unsupported, aborted, malformed, poisoned, dropped; they wrap.
    """

    def __init__(self, config):
        self.config = config
        self.ids = ids = {"function_id_width": config.function_id_width}
        tlps = stream.Signature(tlp_beat(data_width=config.data_width))
        super().__init__({
            "requests":           In(stream.Signature(tlp_beat(data_width=config.data_width),
                                                      always_ready=True)),
            "completions":        Out(tlps),
            "released":           Out(released()),
            "net_mmio":           Out(MmioPort(**ids)),
            "nvme_mmio":          Out(MmioPort(**ids)),
            "rows":               In(stream.Signature(function_row(**ids), always_ready=True)),
            "settings":           In(settings(**ids)),
            "configs":            Out(stream.Signature(config_request())),
            "config_completions": In(stream.Signature(completion())),
            "accesses":           In(stream.Signature(access_request(**ids))),
            "access_replies":     Out(stream.Signature(access_reply(), always_ready=True)),
            "msix_requests":      Out(stream.Signature(mmio_request(**ids))),
            "msix_replies":       In(stream.Signature(mmio_reply(), always_ready=True)),
            "errors":             Out(stream.Signature(error_event(**ids))),
            "counters":           Out(data.ArrayLayout(32, 5)),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        m.submodules.receiver = receiver = Receiver(data_width=config.data_width)
        m.submodules.decode   = decode   = BarDecode(config)
        wiring.connect(m, wiring.flipped(self.requests), receiver.i)
        wiring.connect(m, receiver.requests, decode.i)
        m.d.comb += decode.settings.eq(self.settings)

        lanes = []
        for name in ("net", "nvme", "msix"):
            lane = MmioLane(functions=config.functions, writes_depth=spec.POSTED_CREDITS,
                            reads_depth=spec.NONPOSTED_CREDITS, **self.ids)
            m.submodules[f"{name}_lane"] = lane
            lanes.append(lane)
            m.d.comb += [
                lane.settings.eq(self.settings),
                lane.rows.payload.eq(self.rows.payload),
                lane.rows.valid.eq(self.rows.valid),
                lane.i.payload.eq(decode.access),
            ]
        net, nvme, msix = lanes
        for lane, port in ((net, self.net_mmio), (nvme, self.nvme_mmio)):
            m.d.comb += [
                port.requests.payload.eq(lane.requests.payload),
                port.requests.valid.eq(lane.requests.valid),
                lane.requests.ready.eq(1),
            ]
            wiring.connect(m, wiring.flipped(port.replies), lane.replies)
        m.submodules.msix_slice = msix_slice = Buffer(mmio_request(**self.ids))
        wiring.connect(m, msix.requests, msix_slice.i)
        wiring.connect(m, msix_slice.o, wiring.flipped(self.msix_requests))
        wiring.connect(m, wiring.flipped(self.msix_replies), msix.replies)
        # Virtio's access from configuration space goes the way of virtio's registers.
        wiring.connect(m, wiring.flipped(self.accesses), net.accesses)
        wiring.connect(m, net.access_replies, wiring.flipped(self.access_replies))

        # --- sorting ----------------------------------------------------------------------------
        request    = decode.o.p
        poisoned   = Signal()
        no_place   = Signal()
        to_refusal = Signal()
        m.d.comb += [
            poisoned.eq(decode.o.valid & request.write & request.poisoned),
            no_place.eq(decode.o.valid & ~poisoned & ~request.refuse & (decode.to == TO_NONE)),
            to_refusal.eq((no_place & ~request.write) | (decode.o.valid & request.refuse)),
        ]
        for place, lane in ((TO_NET, net), (TO_NVME, nvme), (TO_MSIX, msix)):
            m.d.comb += [
                lane.i.valid.eq(decode.o.valid & (decode.to == place) & ~poisoned
                                & ~request.refuse),
                lane.i_write.eq(request.write),
            ]
        m.submodules.refusals = refusals = Queue(completion(), depth=spec.NONPOSTED_CREDITS + 2)
        with m.If(to_refusal):
            m.d.sync += Assert(refusals.i.ready)
        refusal = refusals.i.p
        m.d.comb += [
            refusals.i.valid.eq(to_refusal),
            refusal.transaction.eq(request.transaction),
            refusal.completer_id.eq(Cat(Const(0, 8), self.settings.bus)),
            refusal.status.eq(UR),
            refusal.byte_count.eq(request.byte_count),
            refusal.lower_address.eq(request.lower_address),
        ]

        # --- configuration ----------------------------------------------------------------------
        # [pcie-5.0: 2.4.1] a non-posted request does not pass the writes before it.
        marks  = data.ArrayLayout(net.entered.shape(), 3)
        marked = data.StructLayout({"request": config_request(), "marks": marks})
        m.submodules.config_queue = waiting = Queue(marked, depth=spec.NONPOSTED_CREDITS + 2)
        # As late as the memory requests beside them, so that `entered` has counted all before.
        late, late_valid = receiver.configs.payload, receiver.configs.valid
        for stage in range(BarDecode.LATENCY):
            here       = Signal(config_request(), name=f"config{stage}")
            here_valid = Signal(name=f"config{stage}_valid")
            m.d.sync += [here.eq(late), here_valid.eq(late_valid)]
            late, late_valid = here, here_valid
        m.d.comb += [waiting.i.valid.eq(late_valid), waiting.i.p.request.eq(late)]
        with m.If(late_valid):
            m.d.sync += Assert(waiting.i.ready)
        due = Signal(3)
        for number, lane in enumerate(lanes):
            ahead = Signal.like(lane.left, name=f"ahead{number}")
            m.d.comb += [
                waiting.i.p.marks[number].eq(lane.entered),
                ahead.eq(lane.left - waiting.o.p.marks[number]),
                due[number].eq(~ahead[-1]),
            ]
        m.d.comb += [
            self.configs.payload.eq(waiting.o.p.request),
            self.configs.valid.eq(waiting.o.valid & due.all()),
            waiting.o.ready.eq(self.configs.ready & due.all()),
        ]

        # --- completions ------------------------------------------------------------------------
        m.submodules.merge = merge = Merge(completion(), count=5)
        ended = []
        for name, lane in zip(("net", "nvme", "msix"), lanes):
            m.submodules[f"{name}_ended"] = end = Buffer(completion())
            wiring.connect(m, lane.completions, end.i)
            ended.append(end.o)
        for source, sink in zip((*ended, refusals.o, wiring.flipped(self.config_completions)),
                                merge.i):
            wiring.connect(m, source, sink)
        m.submodules.slice = border = Buffer(completion())
        wiring.connect(m, merge.o, border.i)
        self._encode(m, border.o)

        self._account(m, receiver, decode, lanes, poisoned, no_place, to_refusal,
                      refusals.o.valid & refusals.o.ready, waiting.o.valid & waiting.o.ready)

        return m

    def _encode(self, m, completions):
        """A completion as a TLP."""
        source = completions.p
        out    = self.completions.p
        header = data.View(Completion, out.header.as_value())
        with_data = Signal()
        m.d.comb += [
            with_data.eq(source.length_dw != 0),
            header.fmt.eq(Mux(with_data, Fmt.THREE_DW_DATA, Fmt.THREE_DW)),
            header.type.eq(Mux(source.transaction.locked, Type.COMPLETION_LOCKED,
                               Type.COMPLETION)),
            header.length.eq(source.length_dw),
            Cat(header.tag, header.tag_8, header.tag_9).eq(source.transaction.tag),
            Cat(header.attr, header.attr_2).eq(source.transaction.attr),
            header.tc.eq(source.transaction.tc),
            header.requester_id.eq(source.transaction.requester_id),
            header.completer_id.eq(source.completer_id),
            header.status.eq(source.status),
            header.byte_count.eq(source.byte_count),
            header.lower_address.eq(source.lower_address),
            out.data.as_value().eq(Mux(with_data, source.data, 0)),
            out.first.eq(1),
            out.last.eq(1),
            self.completions.valid.eq(completions.valid),
            completions.ready.eq(self.completions.ready),
        ]

    def _account(self, m, receiver, decode, lanes, poisoned, no_place, to_refusal, refused,
                 config_taken):
        """Credits, counters and the error log."""
        request = decode.o.p
        dead    = Signal()  # a posted request ended at the decoder
        m.d.comb += dead.eq(poisoned | (no_place & request.write))
        m.d.sync += [
            self.released.ph.eq(receiver.released.ph + dead
                                + sum(lane.write_done for lane in lanes)),
            self.released.pd.eq(receiver.released.pd),
            self.released.nph.eq(receiver.released.nph + refused + config_taken
                                 + sum(lane.read_done for lane in lanes)),
            self.released.npd.eq(receiver.released.npd),
        ]
        # What lanes say rests once: it comes at the end of their verdicts.
        said = []
        for number, lane in enumerate(lanes):
            heard = Signal(data.StructLayout({
                "refused": 1, "refused_read": 1, "dropped": 1, "aborted": 1,
                "refused_function": len(lane.refused_function)}), name=f"heard{number}")
            m.d.sync += [heard[name].eq(getattr(lane, name)) for name in heard.shape().members]
            said.append(heard)
        events = (
            (receiver.unsupported + (no_place | (decode.o.valid & request.refuse))
             + sum(heard.refused for heard in said)),
            sum(heard.aborted for heard in said),
            receiver.malformed,
            poisoned,
            sum(heard.dropped for heard in said),
        )
        for number, event in enumerate(events):
            step = Signal(3, name=f"step{number}")
            m.d.sync += [step.eq(event), self.counters[number].eq(self.counters[number] + step)]

        m.submodules.errors = errors = Queue(error_event(**self.ids), depth=4)
        news, event = Signal(), Signal(error_event(**self.ids))
        m.d.comb += [errors.i.valid.eq(news), errors.i.payload.eq(event)]
        m.d.sync += news.eq(0)

        def log(function, error, advisory, header=0):
            return [news.eq(1), event.function_id.eq(function), event.error.eq(error),
                    event.advisory.eq(advisory), event.header.as_value().eq(header)]

        for heard in said:
            with m.If(heard.refused):
                m.d.sync += log(heard.refused_function, spec.ERROR_UNSUPPORTED, heard.refused_read)
            with m.Elif(heard.dropped):
                m.d.sync += log(heard.refused_function, spec.ERROR_UNSUPPORTED, 0)
            with m.Elif(heard.aborted):
                m.d.sync += log(heard.refused_function, spec.ERROR_ABORT, 1)
        header = request.header.as_value()
        with m.If(no_place | (decode.o.valid & request.refuse)):
            m.d.sync += log(0, spec.ERROR_UNSUPPORTED, to_refusal, header)
        with m.If(poisoned):
            m.d.sync += log(Mux(decode.to == TO_NONE, 0, decode.access.function_id),
                            spec.ERROR_POISONED, 0, header)
        with m.If(receiver.unsupported):
            m.d.sync += log(0, spec.ERROR_UNSUPPORTED, 0, receiver.header.as_value())
        with m.If(receiver.malformed):
            m.d.sync += log(0, spec.ERROR_MALFORMED, 0, receiver.header.as_value())
        wiring.connect(m, errors.o, wiring.flipped(self.errors))
