"""The end of a function: wait until nothing of it is under way, clear its rows, say so."""

# Ref: virtio-1.2, 2.4 (Device Reset), 4.1.4.3.1 (device_status reads 0 when the reset is done)

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import LifecyclePort
from ..rtl.worklist import WorkList
from .profile import EVENT_CLEAR, EVENT_END, EVENT_STOP, life_event

__all__ = ["Lifecycle"]


class Lifecycle(wiring.Component):
    """Functions that end, by the endpoint's word or by their driver's 0 in the status: one machine.

    Functions are asked after in turn, so any number may be ending and a slow one holds up nobody.
    A queue is idle when its engines say so in one cycle each; a function when all its queues were
    idle in one round, during which it can begin nothing.

    Timing
    ------
    About 12 cycles a queue pair and round.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    lifecycle : ``In(LifecyclePort(...))``
        The endpoint.
    resets : ``In(stream, always_ready)``
        Functions whose driver resets them.
    events : ``Out(stream(life_event))``
        To the registers.
    function, life : address and row
        What the registers say of a function, 1 cycle later.
    looks : ``Out(stream)``
        Receive queues that shall give up what they hold.
    checks : ``Out(stream).array(2)``; checked, idle : ``In(1).array(2)``
        Questions to the engines of both directions, and their answers.
    """

    # What a mutant changes: wait until the engines are idle.
    _waits = True

    def __init__(self, geometry, *, life):
        self.geometry = g = geometry
        super().__init__({
            "lifecycle": In(LifecyclePort(function_id_width=g.id_width)),
            "resets":    In(stream.Signature(range(g.functions), always_ready=True)),
            "events":    Out(stream.Signature(life_event(g))),
            "function":  Out(g.row_bits),
            "life":      In(life),
            "looks":     Out(stream.Signature(g.queue_bits)),
            "checks":    Out(stream.Signature(g.queue_bits)).array(2),
            "checked":   In(1).array(2),
            "idle":      In(1).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        count = 1 << g.row_bits
        m.submodules.stops  = stops  = WorkList(count=count)
        m.submodules.resets = resets = WorkList(count=count)
        row   = Signal(g.row_bits)
        stop  = Signal()
        pair  = Signal(range(max(g.pairs, 2)))
        busy  = Signal()
        again = Signal()
        turn  = Signal()

        # A function that is not idle yet goes to the end of its line, unless the line is busy now.
        put = Signal()
        incoming = self.lifecycle.stops
        m.d.comb += [
            stops.i.valid.eq(incoming.valid | again & stop),
            stops.i.payload.eq(Mux(incoming.valid, incoming.p.function_id, row)),
            resets.i.valid.eq(self.resets.valid | again & ~stop),
            resets.i.payload.eq(Mux(self.resets.valid, self.resets.payload, row)),
            put.eq(Mux(stop, ~incoming.valid, ~self.resets.valid)),
        ]
        queue = Cat(pair[:g.pair_bits], row)
        drained = self.lifecycle.drained
        m.d.comb += [
            self.events.p.function_id.eq(row), self.events.p.pair.eq(pair),
            self.looks.payload.eq(queue), self.checks[0].payload.eq(queue),
            self.checks[1].payload.eq(queue), drained.p.function_id.eq(row),
        ]
        last = Signal()
        m.d.comb += last.eq(pair == g.pairs - 1)
        m.d.comb += self.function.eq(Mux(turn, stops.o.payload, resets.o.payload))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [pair.eq(0), busy.eq(0), turn.eq(~turn)]
                m.d.sync += [row.eq(self.function), stop.eq(turn)]
                with m.If(turn & stops.o.valid):
                    m.d.comb += stops.o.ready.eq(1)
                    m.next = "STOP"
                with m.Elif(~turn & resets.o.valid):
                    m.d.comb += resets.o.ready.eq(1)
                    m.next = "RESET"
            with m.State("STOP"):
                m.d.comb += [self.events.valid.eq(1), self.events.p.kind.eq(EVENT_STOP)]
                with m.If(self.events.ready):
                    m.next = "SETTLE"
            with m.State("RESET"):
                # A reset that a stop overtook is over: what the driver did since is not touched.
                m.next = "IDLE"
                with m.If(self.life.resetting):
                    m.next = "LOOK"
            with m.State("SETTLE"):
                m.next = "LOOK"
            with m.State("LOOK"):
                m.d.comb += self.looks.valid.eq(1)
                with m.If(self.looks.ready):
                    m.next = "ASK-0"
            for way in range(2):
                with m.State(f"ASK-{way}"):
                    m.d.comb += self.checks[way].valid.eq(1)
                    with m.If(self.checks[way].ready):
                        m.next = f"WAIT-{way}"
                with m.State(f"WAIT-{way}"):
                    with m.If(self.checked[way]):
                        if self._waits:
                            m.d.sync += busy.eq(busy | ~self.idle[way])
                        m.next = "ASK-1" if way == 0 else "PAIR"
            with m.State("PAIR"):
                m.d.sync += pair.eq(Mux(last, 0, pair + 1))
                m.next = "LOOK"
                with m.If(last):
                    m.next = "CLEAR"
                    with m.If(busy):
                        m.next = "AGAIN"
            with m.State("AGAIN"):
                m.d.comb += again.eq(1)
                with m.If(put):
                    m.next = "IDLE"
            with m.State("CLEAR"):
                m.d.comb += [self.events.valid.eq(1), self.events.p.kind.eq(EVENT_CLEAR)]
                with m.If(self.events.ready):
                    m.d.sync += pair.eq(pair + 1)
                    with m.If(last):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [self.events.valid.eq(1), self.events.p.kind.eq(EVENT_END)]
                with m.If(self.events.ready):
                    m.next = "IDLE"
                    with m.If(stop):
                        m.next = "DRAINED"
            with m.State("DRAINED"):
                m.d.comb += drained.valid.eq(1)
                with m.If(drained.ready):
                    m.next = "IDLE"

        return m
