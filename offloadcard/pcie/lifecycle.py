"""Ends of functions: FLR, VF Enable off, link down; and how they begin anew."""

# Ref: pcie-5.0, 6.6.2 (Function Level Reset); sriov-1.1, 2.2 (Reset Mechanisms)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.arbiter import Merge
from ..rtl.buffer import Buffer, Queue
from ..rtl.ports import LifecyclePort, lifecycle_drained
from ..rtl.worklist import WorkList
from .config_resolve import kind_of
from .transactions import (
    RESET_ALL,
    RESET_FAMILY,
    RESET_FUNCTION,
    RESET_VFS,
    opening,
    reset_request,
)

__all__ = ["Lifecycle"]


class Lifecycle(wiring.Component):
    """Close a function's gate, ask all who serve it to end, and open it when all have said so.

    Any number of functions may be ending; their states are rows of memory. A physical function
    opens only after its virtual ones have, since its end is theirs. Bus master off and D3hot are
    no ends: they are gates of the requester.

    Timing
    ------
    Closing takes about 7 cycles a function. ``stops`` follow ``settle`` cycles later, when
    everything that passed the gate has reached its place.

    Parameters
    ----------
    config : CardConfig
        The card.
    settle : int
        Cycles from closing to asking; more than a queue full of accesses can take.

    Members
    -------
    resets : ``In(stream.Signature(reset_request(...), always_ready=True))``
        Ends asked for.
    closings, openings
        As in :class:`offloadcard.pcie.config_space.ConfigSpace`, seen from the other side.
    walking : ``Out(2)``
        Virtual functions of that physical one are still to be closed.
    net, nvme, requester : ``Out(LifecyclePort(...))``
        The devices and the requester.
    msix : ``Out(LifecyclePort(...))``
        MSI-X.
    """

    _WAITED_FOR = 0b111  # a proof's mutant does not wait for the requester

    def __init__(self, config, *, settle=1024):
        if not 4 <= settle <= 4096:
            raise ValueError(f"`settle` must be 4 to 4096, not {settle!r}")
        self.config = config
        self.settle = settle
        self.ids = ids = {"function_id_width": config.function_id_width}
        super().__init__({
            "resets":    In(stream.Signature(reset_request(**ids), always_ready=True)),
            "closings":  Out(stream.Signature(config.function_id_width)),
            "openings":  Out(stream.Signature(opening(**ids))),
            "walking":   Out(2),
            "net":       Out(LifecyclePort(**ids)),
            "nvme":      Out(LifecyclePort(**ids)),
            "requester": Out(LifecyclePort(**ids)),
            "msix":      Out(LifecyclePort(**ids)),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        width  = config.function_id_width

        # --- who is to end ----------------------------------------------------------------------
        # Single functions wait in a list. Families are walked: a flag for the physical function
        # and one for the virtual ones, of each family.
        m.submodules.list    = waiting = WorkList(count=config.functions)
        m.submodules.singles = singles = Buffer(width)
        wiring.connect(m, waiting.o, singles.i)
        asked_pf  = Signal(2)
        asked_vfs = Signal(2)
        sticky_pf, sticky_vfs = Signal(2), Signal(2)
        request = self.resets.p
        m.d.comb += [
            waiting.i.payload.eq(request.function_id),
            waiting.i.valid.eq(self.resets.valid & (request.scope == RESET_FUNCTION)),
        ]
        walk_family = Signal()
        walk_id     = Signal(width)
        walk_active = Signal()
        walk_last   = Signal(width)
        m.d.comb += walk_last.eq(Mux(walk_family, config.functions - 1,
                                     config.first_nvme_vf - 1))

        # --- rows -------------------------------------------------------------------------------
        # Who has still to say that it is drained; `sticky` is kept for the opening.
        row_shape = data.StructLayout({"device": 1, "requester": 1, "msix": 1, "sticky": 1})
        m.submodules.rows_memory = rows = memory.Memory(shape=row_shape, depth=config.functions,
                                                        init=[])
        row_w = rows.write_port()
        row_r = rows.read_port()
        function = Signal(width)
        said     = Signal(3)  # who has just spoken
        sticky   = Signal()
        kind     = kind_of(m, config, function)
        waits    = Signal(3)
        ending   = Signal()
        m.d.comb += [
            row_r.addr.eq(function),
            row_w.addr.eq(function),
            self.closings.payload.eq(function),
            waits.eq(row_r.data.as_value()[:3]),
        ]

        # --- closed ones wait until what had passed the gate has arrived ----------------
        clock_shape = data.StructLayout({"function_id": width, "at": 14})
        m.submodules.settling = settling = Queue(clock_shape, depth=max(3, config.functions))
        now   = Signal(14)
        left  = Signal(14)
        m.d.sync += now.eq(now + 1)
        family_of_stop = kind_of(m, config, settling.o.p.function_id)[0]
        stop = Signal()
        m.d.comb += [
            settling.i.p.function_id.eq(function),
            settling.i.p.at.eq(now + self.settle),
            left.eq(settling.o.p.at - now),
            stop.eq(settling.o.valid & ((left == 0) | left[-1])),
            settling.o.ready.eq(stop),
        ]
        for port, mine in ((self.net, ~family_of_stop), (self.nvme, family_of_stop),
                           (self.requester, 1), (self.msix, 1)):
            m.d.comb += [
                port.stops.valid.eq(stop & mine),
                port.stops.p.function_id.eq(settling.o.p.function_id),
            ]

        # --- the last words ---------------------------------------------------------------------
        m.submodules.words = words = Merge(lifecycle_drained(**self.ids), count=4)
        for port, sink in zip((self.net, self.nvme, self.requester, self.msix), words.i):
            wiring.connect(m, wiring.flipped(port.drained), sink)

        open_vfs = [Signal(width + 1, name=f"open_vfs{family}") for family in range(2)]
        pf_ended = Signal(2)  # a physical function waits for its virtual ones
        pf_keeps = Signal(2)
        pf_ready = Signal(2)
        for family in range(2):
            m.d.comb += pf_ready[family].eq(pf_ended[family] & (open_vfs[family] == 0)
                                            & ~self.walking[family])
        m.d.comb += self.walking.eq(asked_vfs | Cat(walk_active & (walk_family == family)
                                                    for family in range(2)))

        # A physical function whose own end is done may still wait for its virtual ones.
        m.d.comb += ending.eq(waits.any() | (~kind[1] & pf_ended.bit_select(kind[0], 1)))

        from_walk = Signal()
        with m.FSM():
            with m.State("IDLE"):
                with m.If(words.o.valid):
                    m.d.comb += words.o.ready.eq(1)
                    m.d.sync += [
                        function.eq(words.o.p.function_id),
                        said.eq(Cat(words.index < 2, words.index == 2, words.index == 3)),
                    ]
                    m.next = "READ-WORD"
                with m.Elif(pf_ready.any()):
                    m.d.sync += [function.eq(~pf_ready[0]), sticky.eq(Mux(
                        pf_ready[0], pf_keeps[0], pf_keeps[1]))]
                    with m.If(pf_ready[0]):
                        m.d.sync += pf_ended[0].eq(0)
                    with m.Else():
                        m.d.sync += pf_ended[1].eq(0)
                    m.next = "OPEN"
                with m.Elif(singles.o.valid):
                    m.d.comb += singles.o.ready.eq(1)
                    m.d.sync += [function.eq(singles.o.payload), sticky.eq(1)]
                    m.next = "READ"
                with m.Elif(asked_pf.any()):
                    m.d.sync += [function.eq(~asked_pf[0]),
                                 sticky.eq(Mux(asked_pf[0], sticky_pf[0], sticky_pf[1]))]
                    with m.If(asked_pf[0]):
                        m.d.sync += asked_pf[0].eq(0)
                    with m.Else():
                        m.d.sync += asked_pf[1].eq(0)
                    m.next = "READ"
                with m.Elif(walk_active):
                    m.d.sync += [function.eq(walk_id), walk_id.eq(walk_id + 1), from_walk.eq(1),
                                 sticky.eq(Mux(walk_family, sticky_vfs[1], sticky_vfs[0]))]
                    m.next = "READ"
                with m.Elif(asked_vfs.any()):
                    m.d.sync += [
                        walk_active.eq(1), walk_family.eq(~asked_vfs[0]),
                        walk_id.eq(Mux(asked_vfs[0], config.first_net_vf,
                                       config.first_nvme_vf)),
                    ]
                    with m.If(asked_vfs[0]):
                        m.d.sync += asked_vfs[0].eq(0)
                    with m.Else():
                        m.d.sync += asked_vfs[1].eq(0)

            with m.State("READ"):
                m.next = "CLOSE"
            with m.State("CLOSE"):
                with m.If(ending):
                    # It is ending already; what is not to be kept now was not meant to be then.
                    m.d.comb += [
                        row_w.en.eq(1), row_w.data.eq(row_r.data),
                        row_w.data.sticky.eq(row_r.data.sticky & sticky),
                    ]
                    m.next = "CLOSED"
                with m.Else():
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.closings.valid.eq(1)
                with m.If(self.closings.ready):
                    m.d.comb += [
                        settling.i.valid.eq(1), row_w.en.eq(1), row_w.data.eq(0b111),
                        row_w.data.sticky.eq(sticky),
                    ]
                    for family, count in enumerate(open_vfs):
                        with m.If(kind[1] & (kind[0] == family)):
                            m.d.sync += count.eq(count + 1)
                    m.next = "CLOSED"
            with m.State("CLOSED"):
                m.d.sync += from_walk.eq(0)
                with m.If(from_walk & (function == walk_last)):
                    m.d.sync += walk_active.eq(0)
                m.next = "IDLE"

            with m.State("READ-WORD"):
                m.next = "WORD"
            with m.State("WORD"):
                m.d.comb += [
                    row_w.en.eq(1),
                    row_w.data.as_value().eq(Cat(waits & ~said, row_r.data.sticky)),
                ]
                m.d.sync += sticky.eq(row_r.data.sticky)
                m.next = "IDLE"
                with m.If((waits & ~said & self._WAITED_FOR) == 0):
                    with m.If(kind[1]):
                        m.next = "OPEN"
                    for family in range(2):
                        with m.If(function == family):
                            m.d.sync += [pf_ended[family].eq(1),
                                         pf_keeps[family].eq(row_r.data.sticky)]
            with m.State("OPEN"):
                m.d.comb += [
                    self.openings.valid.eq(1),
                    self.openings.p.function_id.eq(function),
                    self.openings.p.sticky.eq(sticky),
                ]
                with m.If(self.openings.ready):
                    for family, count in enumerate(open_vfs):
                        with m.If(kind[1] & (kind[0] == family)):
                            m.d.sync += count.eq(count - 1)
                    m.next = "IDLE"

        # New wishes come last: none is lost to the clearing of a flag above.
        with m.If(self.resets.valid):
            with m.Switch(request.scope):
                with m.Case(RESET_VFS, RESET_FAMILY):
                    for family in range(2):
                        with m.If(request.function_id[0] == family):
                            m.d.sync += [asked_vfs[family].eq(1), sticky_vfs[family].eq(0)]
                            with m.If(request.scope == RESET_FAMILY):
                                m.d.sync += [asked_pf[family].eq(1), sticky_pf[family].eq(1)]
                with m.Case(RESET_ALL):
                    m.d.sync += [asked_pf.eq(0b11), asked_vfs.eq(0b11),
                                 sticky_pf.eq(0b11), sticky_vfs.eq(0)]

        return m
