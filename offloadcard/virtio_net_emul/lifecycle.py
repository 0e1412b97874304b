"""The end of a function or of a queue: wait until nothing of it is under way, clear its rows."""

# Ref: virtio-1.2, 2.4 (Device Reset), 2.6.1 (Virtqueue Reset)
# Ref: virtio-1.2, 4.1.4.3.1 (device_status reads 0 when the reset is done, as queue_reset does)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import LifecyclePort
from ..rtl.worklist import WorkList
from .profile import (
    CONTROL,
    EVENT_CLEAR,
    EVENT_END,
    EVENT_QUEUE,
    EVENT_STOP,
    RECEIVE,
    TRANSMIT,
    WAYS,
    life_event,
)

__all__ = ["Lifecycle"]

_RESET, _STOP, _QUEUE = range(3)


class Lifecycle(wiring.Component):
    """Functions that end, by the endpoint's word or by their driver's 0 in the status, and queues
    that their driver resets: one machine.

    They are asked after in turn, so any number may be ending and a slow one holds up nobody. A
    queue is idle when its engines say so in one cycle each; a function when all its queues were
    idle in one round, during which it can begin nothing.

    Timing
    ------
    About 12 cycles a queue pair and round, 4 for the control queue.

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
    queue_resets : ``In(stream, always_ready)``
        Queues whose driver resets them.
    events : ``Out(stream(life_event))``
        To the registers.
    function, life : address and row
        What the registers say of a function, 1 cycle later.
    reset_queue, reset_now : address and row
        Whether a queue is being reset, 1 cycle later.
    looks : ``Out(stream)``
        Receive queues that shall give up what they hold.
    checks : ``Out(stream).array(WAYS)``; checked, idle : ``In(1).array(WAYS)``
        Questions to the engines of each way, and their answers.
    """

    # What a mutant changes: wait until the engines are idle.
    _waits = True

    def __init__(self, geometry, *, life):
        self.geometry = g = geometry
        self.one = data.StructLayout({"queue": g.queue_bits, "way": range(WAYS)})
        super().__init__({
            "lifecycle": In(LifecyclePort(function_id_width=g.id_width)),
            "resets":    In(stream.Signature(range(g.functions), always_ready=True)),
            "queue_resets": In(stream.Signature(self.one, always_ready=True)),
            "events":    Out(stream.Signature(life_event(g))),
            "function":  Out(g.row_bits),
            "life":      In(life),
            "reset_queue": Out(self.one),
            "reset_now": In(1),
            "looks":     Out(stream.Signature(g.queue_bits)),
            "checks":    Out(stream.Signature(g.queue_bits)).array(WAYS),
            "checked":   In(1).array(WAYS),
            "idle":      In(1).array(WAYS),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        count = 1 << g.row_bits
        m.submodules.stops  = stops  = WorkList(count=count)
        m.submodules.resets = resets = WorkList(count=count)
        m.submodules.queues = queues = WorkList(count=WAYS << g.queue_bits)
        row   = Signal(g.row_bits)
        kind  = Signal(range(3))
        way   = Signal(range(WAYS))
        pair  = Signal(range(max(g.pairs, 2)))
        busy  = Signal()
        again = Signal()
        turn  = Signal(range(3))
        queue = Cat(pair[:g.pair_bits], row)
        one   = Signal(self.one)
        m.d.comb += [one.queue.eq(queue), one.way.eq(way)]

        # What is not idle yet goes to the end of its line, unless the line is busy now.
        put = Signal()
        incoming = self.lifecycle.stops
        came = (self.resets.valid, incoming.valid, self.queue_resets.valid)
        for number, (work, new, old) in enumerate((
                (resets, self.resets.payload, row), (stops, incoming.p.function_id, row),
                (queues, self.queue_resets.p.as_value(), one.as_value()))):
            mine = Signal(name=f"mine_{number}")
            m.d.comb += [
                mine.eq(again & (kind == number)),
                work.i.valid.eq(came[number] | mine),
                work.i.payload.eq(Mux(came[number], new, old)),
            ]
            with m.If(mine):
                m.d.comb += put.eq(~came[number])
        drained = self.lifecycle.drained
        m.d.comb += [
            self.events.p.function_id.eq(row), self.events.p.pair.eq(pair),
            self.events.p.way.eq(way), self.looks.payload.eq(queue),
            *(self.checks[number].payload.eq(queue) for number in (RECEIVE, TRANSMIT)),
            self.checks[CONTROL].payload.eq(Cat(Const(0, g.pair_bits), row)),
            drained.p.function_id.eq(row),
            self.reset_queue.eq(self.one(queues.o.payload)),
        ]
        last = Signal()
        m.d.comb += last.eq(pair == g.pairs - 1)
        m.d.comb += self.function.eq(Mux(turn == _QUEUE, g.function_of(self.reset_queue.queue),
                                         Mux(turn == _STOP, stops.o.payload, resets.o.payload)))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [busy.eq(0), turn.eq(Mux(turn == _QUEUE, 0, turn + 1)),
                             row.eq(self.function), kind.eq(turn), way.eq(self.reset_queue.way)]
                m.d.sync += pair.eq(0)
                if g.pair_bits:
                    with m.If(turn == _QUEUE):
                        m.d.sync += pair.eq(self.reset_queue.queue[:g.pair_bits])
                for number, work in enumerate((resets, stops, queues)):
                    with m.If((turn == number) & work.o.valid):
                        m.d.comb += work.o.ready.eq(1)
                        m.next = ("RESET", "STOP", "QUEUE")[number]
            with m.State("STOP"):
                m.d.comb += [self.events.valid.eq(1), self.events.p.kind.eq(EVENT_STOP)]
                with m.If(self.events.ready):
                    m.next = "SETTLE"
            with m.State("RESET"):
                # A reset that a stop overtook is over: what the driver did since is not touched.
                m.next = "IDLE"
                with m.If(self.life.resetting):
                    m.next = "LOOK"
            with m.State("QUEUE"):
                # So is a queue's that the end of its function overtook.
                m.next = "IDLE"
                with m.If(self.reset_now):
                    m.next = "LOOK"
                    with m.If(way == TRANSMIT):
                        m.next = "ASK-1"
                    with m.If(way == CONTROL):
                        m.next = "ASK-2"
            with m.State("SETTLE"):
                m.next = "LOOK"
            with m.State("LOOK"):
                m.d.comb += self.looks.valid.eq(1)
                with m.If(self.looks.ready):
                    m.next = "ASK-0"
            for number in range(WAYS):
                with m.State(f"ASK-{number}"):
                    m.d.comb += self.checks[number].valid.eq(1)
                    with m.If(self.checks[number].ready):
                        m.next = f"WAIT-{number}"
                with m.State(f"WAIT-{number}"):
                    with m.If(self.checked[number]):
                        if self._waits:
                            m.d.sync += busy.eq(busy | ~self.idle[number])
                        m.next = ("ASK-1", "PAIR", "VERDICT")[number]
                        with m.If(kind == _QUEUE):
                            m.next = "VERDICT"
            with m.State("PAIR"):
                m.d.sync += pair.eq(Mux(last, 0, pair + 1))
                m.next = "LOOK"
                with m.If(last):
                    m.next = "ASK-2"
            with m.State("VERDICT"):
                m.next = "CLEAR"
                with m.If(busy):
                    m.next = "AGAIN"
            with m.State("AGAIN"):
                m.d.comb += again.eq(1)
                with m.If(put):
                    m.next = "IDLE"
            with m.State("CLEAR"):
                m.d.comb += [self.events.valid.eq(1),
                             self.events.p.kind.eq(Mux(kind == _QUEUE, EVENT_QUEUE, EVENT_CLEAR))]
                with m.If(self.events.ready):
                    m.d.sync += pair.eq(pair + 1)
                    with m.If(kind == _QUEUE):
                        m.next = "IDLE"
                    with m.Elif(last):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [self.events.valid.eq(1), self.events.p.kind.eq(EVENT_END)]
                with m.If(self.events.ready):
                    m.next = "IDLE"
                    with m.If(kind == _STOP):
                        m.next = "DRAINED"
            with m.State("DRAINED"):
                m.d.comb += drained.valid.eq(1)
                with m.If(drained.ready):
                    m.next = "IDLE"

        return m
