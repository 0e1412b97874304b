"""The front of the endpoint: everything that a guest reaches by a request of its own."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.arbiter import Merge
from ..rtl.buffer import Buffer, Queue
from ..rtl.ports import InterruptPort, LifecyclePort, ManagementPort, MmioPort, dma_write_beat
from .config_space import ConfigSpace
from .functions import error_event, error_message, function_row, released, settings
from .lifecycle import Lifecycle
from .msix import Msix
from .spec import tlp_beat
from .target import Target
from .transactions import access_request, completion, config_request

__all__ = ["Front"]


class Front(wiring.Component):
    """Configuration spaces, BAR target, MSI-X and lifecycle, connected.

    The requester beside it keeps its own copy of ``rows`` and takes the rest of its knowledge from
    ``settings``.

    Timing
    ------
    One request TLP per cycle, never stalled while the other side keeps to its credits. A doorbell
    leaves for its device 7 cycles after its TLP. The completion of a configuration request comes
    15 cycles after it.

    Parameters
    ----------
    config : CardConfig
        The card.
    settle : int
        As of :class:`offloadcard.pcie.lifecycle.Lifecycle`.

    Members
    -------
    requests : ``In(stream.Signature(tlp_beat(...), always_ready=True))``
        Requests and messages of the guests.
    released : ``Out(released())``
        Receive credits that come free in this cycle: add them to ``rx_credit_allocated``, which
        begins with the credits of ``spec_config`` (``POSTED_CREDITS``, ``NONPOSTED_CREDITS``).
    completions : ``Out(stream.Signature(tlp_beat(...)))``
        Completions, one beat each.
    net_mmio, nvme_mmio : ``Out(MmioPort(...))``
        Register accesses of the guests.
    net_interrupts, nvme_interrupts : ``In(InterruptPort(...))``
        Interrupts of the devices.
    interrupt_writes : ``Out(stream.Signature(dma_write_beat(...)))``
        MSI-X messages, each a write of 4 octets, for the posted order; the tag is 0.
    interrupt_decided : ``In(1)``
        The oldest of them has its place in the posted order, or was refused.
    net_lifecycle, nvme_lifecycle, requester_lifecycle : ``Out(LifecyclePort(...))``
        Ends of functions. The requester is asked together with the device.
    rows : ``Out(stream.Signature(function_row(...), always_ready=True))``
        News of the function table.
    passing : ``In(1)``
        A DMA read or an error message that earlier news let through has not left yet. The
        completion of a configuration write waits for it, and for the interrupts before the news.
    settings : ``Out(settings(...))``
        Bus number, sizes and enables; registers.
    errors : ``In(stream.Signature(error_event(...), always_ready=True))``
        The requester's errors, to be logged (completion timeout, unexpected completion, poison).
    messages : ``Out(stream.Signature(error_message(...), always_ready=True))``
        What the root complex is to be told.
    pending_function, pending : ``Out(function_id_width)``, ``In(1)``
        Transactions Pending of that function, one cycle later.
    link_up : ``In(1)``
        The data link is up; low is a reset of all functions.
    management : ``In(ManagementPort())``
        ``spec_config.MANAGEMENT``; addresses 0x0000 to 0x7FFF of the house.
    """

    def __init__(self, config, *, settle=1024):
        self.config = config
        self.settle = settle
        ids    = {"function_id_width": config.function_id_width}
        widths = {**ids, "data_width": config.data_width}
        super().__init__({
            "requests":            In(stream.Signature(tlp_beat(data_width=config.data_width),
                                                       always_ready=True)),
            "released":            Out(released()),
            "completions":         Out(stream.Signature(tlp_beat(data_width=config.data_width))),
            "net_mmio":            Out(MmioPort(**ids)),
            "nvme_mmio":           Out(MmioPort(**ids)),
            "net_interrupts":      In(InterruptPort(**ids)),
            "nvme_interrupts":     In(InterruptPort(**ids)),
            "interrupt_writes":    Out(stream.Signature(dma_write_beat(
                tag_width=config.dma_tag_width, **widths))),
            "interrupt_decided":   In(1),
            "net_lifecycle":       Out(LifecyclePort(**ids)),
            "nvme_lifecycle":      Out(LifecyclePort(**ids)),
            "requester_lifecycle": Out(LifecyclePort(**ids)),
            "rows":                Out(stream.Signature(function_row(**ids), always_ready=True)),
            "passing":             In(1),
            "settings":            Out(settings(**ids)),
            "errors":              In(stream.Signature(error_event(**ids), always_ready=True)),
            "messages":            Out(stream.Signature(error_message(**ids), always_ready=True)),
            "pending_function":    Out(config.function_id_width),
            "pending":             In(1),
            "link_up":             In(1),
            "management":          In(ManagementPort()),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        m.submodules.config_space = space     = ConfigSpace(config)
        m.submodules.target       = target    = Target(config)
        m.submodules.msix         = msix      = Msix(config)
        m.submodules.lifecycle    = lifecycle = Lifecycle(config, settle=self.settle)

        def out(name, port):
            """A member of ours is a member of a part."""
            wiring.connect(m, wiring.flipped(getattr(self, name)), port)

        for name in ("requests", "completions", "net_mmio", "nvme_mmio"):
            out(name, getattr(target, name))
        out("net_interrupts", msix.net_interrupts)
        out("nvme_interrupts", msix.nvme_interrupts)
        out("interrupt_writes", msix.writes)
        out("net_lifecycle", lifecycle.net)
        out("nvme_lifecycle", lifecycle.nvme)
        out("requester_lifecycle", lifecycle.requester)
        out("management", space.management)
        out("rows", space.rows)
        m.d.sync += [self.messages.payload.eq(space.messages.payload),
                     self.messages.valid.eq(space.messages.valid)]
        m.d.comb += [
            self.released.eq(target.released),
            self.settings.eq(space.settings),
            self.pending_function.eq(space.pending_function),
            space.pending.eq(self.pending),
            space.passing.eq(self.passing | msix.passing),
            msix.decided.eq(self.interrupt_decided),
            space.link_up.eq(self.link_up),
            space.counters.eq(target.counters),
            target.settings.eq(space.settings),
            *(part.rows.valid.eq(space.rows.valid) for part in (target, msix)),
            *(part.rows.payload.eq(space.rows.payload) for part in (target, msix)),
        ]
        # One visit at a time, so a slice on each side costs nothing but its cycle.
        m.submodules.config_requests    = asked    = Buffer(config_request())
        m.submodules.config_completions = answered = Buffer(completion())
        wiring.connect(m, target.configs, asked.i)
        wiring.connect(m, asked.o, space.requests)
        wiring.connect(m, space.completions, answered.i)
        wiring.connect(m, answered.o, target.config_completions)
        m.submodules.access = access = Buffer(access_request(
            function_id_width=config.function_id_width))
        wiring.connect(m, space.accesses, access.i)
        wiring.connect(m, access.o, target.accesses)
        wiring.connect(m, target.access_replies, space.access_replies)
        wiring.connect(m, target.msix_requests, msix.requests)
        wiring.connect(m, msix.replies, target.msix_replies)
        m.d.sync += [lifecycle.resets.payload.eq(space.resets.payload),
                     lifecycle.resets.valid.eq(space.resets.valid)]
        wiring.connect(m, lifecycle.closings, space.closings)
        wiring.connect(m, lifecycle.openings, space.openings)
        m.d.comb += space.walking.eq(lifecycle.walking)
        wiring.connect(m, lifecycle.msix.stops, msix.stops)
        wiring.connect(m, msix.drained, lifecycle.msix.drained)

        # Errors of the requester wait a little; a storm of them loses some, as events may.
        m.submodules.requester_errors = waiting = Queue(self.errors.payload.shape(), depth=4)
        m.submodules.errors = errors = Merge(self.errors.payload.shape(), count=2)
        m.d.comb += [
            waiting.i.payload.eq(self.errors.payload),
            waiting.i.valid.eq(self.errors.valid),
        ]
        wiring.connect(m, waiting.o, errors.i[0])
        wiring.connect(m, target.errors, errors.i[1])
        m.submodules.error = error = Buffer(self.errors.payload.shape())
        wiring.connect(m, errors.o, error.i)
        wiring.connect(m, error.o, space.errors)

        return m
