"""The provider's way to the function table: the management registers of the front."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import ManagementPort
from .functions import settings
from .spec_config import MANAGEMENT, FunctionControl, FunctionState

__all__ = ["Provider"]

COUNTERS = ("UNSUPPORTED", "ABORTED", "MALFORMED", "POISONED", "DROPPED_WRITES")


class Provider(wiring.Component):
    """Serve ``spec_config.MANAGEMENT``; ask for a visit where a function's row is needed.

    Timing
    ------
    A reply comes 2 cycles after its request; with a visit, when configuration space had the time.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    port : ``In(ManagementPort())``
        The management port.
    counters, settings, link_up
        What is shown.
    visit : ``Out(1)``
        The row of ``function`` is wanted.
    function : ``Out(function_id_width)``
        Chosen function.
    done : ``In(1)``
        The row is here, in ``state``, and ``control`` is obeyed.
    state : ``In(FunctionState)``
        Its row.
    control : ``Out(FunctionControl)``
        What to do to it, if ``control_write``; ``ends`` says that it is to be stopped.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "port":          In(ManagementPort()),
            "counters":      In(data.ArrayLayout(32, len(COUNTERS))),
            "settings":      In(settings(function_id_width=config.function_id_width)),
            "link_up":       In(1),
            "visit":         Out(1),
            "function":      Out(config.function_id_width),
            "done":          In(1),
            "state":         In(FunctionState),
            "control":       Out(FunctionControl),
            "control_write": Out(1),
            "ends":          Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        request = self.port.requests
        reply   = self.port.replies
        chosen  = Signal(MANAGEMENT["FUNCTION"].width)
        write   = Signal()
        legal   = Signal()
        pf      = self.settings.pf
        m.d.comb += [
            self.function.eq(chosen),
            self.ends.eq(self.control.reset | ~self.control.present),
            self.control_write.eq(self.visit & write),
            legal.eq(chosen < self.config.functions),
        ]
        place = Signal(15)
        m.d.comb += place.eq(request.p.address[:15])
        # Answered in the next cycle, but for the two that need a visit.
        m.d.sync += [reply.valid.eq(request.valid & ~self.visit), reply.p.error.eq(0),
                     reply.p.data.eq(0)]
        with m.If(request.valid):
            with m.Switch(place):
                with m.Case(MANAGEMENT["ID"].offset):
                    m.d.sync += reply.p.data.eq(MANAGEMENT["ID"].reset)
                with m.Case(MANAGEMENT["FUNCTION"].offset):
                    m.d.sync += reply.p.data.eq(chosen)
                    with m.If(request.p.write):
                        m.d.sync += chosen.eq(request.p.data)
                with m.Case(MANAGEMENT["LINK"].offset):
                    m.d.sync += reply.p.data.eq(Cat(
                        self.link_up, self.settings.ari, Const(0, 6), self.settings.bus,
                        *(Mux(p.vf_enable, p.num_vfs, 0) | Const(0, 16) for p in pf)))
                with m.Case(MANAGEMENT["FUNCTION_STATE"].offset,
                            MANAGEMENT["FUNCTION_CONTROL"].offset):
                    # Physical functions are the provider's own: their drivers reset them.
                    is_control = Signal()
                    m.d.comb += is_control.eq(place == MANAGEMENT["FUNCTION_CONTROL"].offset)
                    with m.If(legal & ~(is_control & (~request.p.write | (chosen < 2)))
                              & (is_control | ~request.p.write)):
                        m.d.sync += [
                            self.visit.eq(1), write.eq(is_control),
                            self.control.eq(request.p.data[:2]), reply.valid.eq(0),
                        ]
                    with m.Else():
                        m.d.sync += reply.p.error.eq(1)
                for number, name in enumerate(COUNTERS):
                    with m.Case(MANAGEMENT[name].offset):
                        m.d.sync += reply.p.data.eq(self.counters[number])
                with m.Default():
                    m.d.sync += reply.p.error.eq(1)
        with m.If(self.visit & self.done):
            m.d.sync += [self.visit.eq(0), reply.valid.eq(1),
                         reply.p.data.eq(Mux(write, 0, self.state.as_value()))]

        return m
