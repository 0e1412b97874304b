"""What of each function is in flight, counted in memory, and when it has drained."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.ports import LifecyclePort
from ..rtl.worklist import WorkList

__all__ = ["EventCount", "Flight"]


class EventCount(wiring.Component):
    """Count events per function, modulo, in one memory with several readers.

    Timing
    ------
    One event per cycle; a reader's answer comes one cycle after its question and knows the events
    of the cycles before the question.

    Parameters
    ----------
    function_id_width, width, readers : int
        Width of ids and of counts; number of read ports.

    Members
    -------
    events : ``In(stream.Signature(function_id_width, always_ready=True))``
        The function to which something happened.
    functions : ``In(function_id_width).array(readers)``, ``counts`` : ``Out(width).array(readers)``
        Questions; answers one cycle later.
    """

    def __init__(self, *, function_id_width, width, readers):
        self.function_id_width = function_id_width
        self.width = width
        super().__init__({
            "events":    In(stream.Signature(function_id_width, always_ready=True)),
            "functions": In(function_id_width).array(readers),
            "counts":    Out(width).array(readers),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.rows = rows = memory.Memory(shape=unsigned(self.width),
                                                 depth=1 << self.function_id_width, init=[])
        write = rows.write_port()
        own   = rows.read_port(transparent_for=(write,))
        happened = Signal()
        function = Signal(self.function_id_width)
        m.d.sync += [happened.eq(self.events.valid), function.eq(self.events.payload)]
        m.d.comb += [
            own.addr.eq(self.events.payload),
            write.addr.eq(function),
            write.data.eq(own.data + 1),
            write.en.eq(happened),
        ]
        for question, count in zip(self.functions, self.counts):
            read = rows.read_port(transparent_for=(write,))
            m.d.comb += [read.addr.eq(question), count.eq(read.data)]

        return m


class Flight(wiring.Component):
    """Know of each function whether reads are unanswered or accepted writes have not left.

    Quarantined tags do not count: their read was answered, and what still comes is discarded.

    Timing
    ------
    ``pending`` one cycle after ``pending_function``. A function that is stopped is looked at in
    turn, about every 10 cycles times the number of functions that are stopping.

    Parameters
    ----------
    functions : int
        Number of functions.
    function_id_width : int
        Width of ``function_id``.
    in_flight : int
        More reads, or writes, than can be in flight.

    Members
    -------
    reads_begun, reads_ended, writes_begun, writes_ended : ``In(stream.Signature(...))``
        The function of each.
    lifecycle : ``In(LifecyclePort(...))``
        Asked to stop; answers when nothing is in flight. The gate is closed before.
    pending_function, pending : ``In(function_id_width)``, ``Out(1)``
        Reads of that function are unanswered.
    """

    kinds = ("reads_begun", "reads_ended", "writes_begun", "writes_ended")
    looks_at_writes = True  # a mutant does not

    def __init__(self, *, functions, function_id_width, in_flight):
        self.functions = functions
        self.function_id_width = function_id_width
        self.width = in_flight.bit_length()
        event = stream.Signature(function_id_width, always_ready=True)
        super().__init__({
            **{kind: In(event) for kind in self.kinds},
            "lifecycle":        In(LifecyclePort(function_id_width=function_id_width)),
            "pending_function": In(function_id_width),
            "pending":          Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        counts = {}
        asked  = Signal(self.function_id_width)
        for kind in self.kinds:
            counts[kind] = count = EventCount(function_id_width=self.function_id_width,
                                              width=self.width, readers=2)
            m.submodules[kind] = count
            wiring.connect(m, wiring.flipped(getattr(self, kind)), count.events)
            m.d.comb += [count.functions[0].eq(self.pending_function),
                         count.functions[1].eq(asked)]

        def open_(what, reader):
            return counts[f"{what}_begun"].counts[reader] != counts[f"{what}_ended"].counts[reader]

        m.d.comb += self.pending.eq(open_("reads", 0))

        # Those that are stopping are looked at in turn, until nothing of them is in flight.
        m.submodules.stopping = stopping = WorkList(count=1 << self.function_id_width)
        stops, drained = self.lifecycle.stops, self.lifecycle.drained
        again = Signal()
        m.d.comb += [
            stopping.i.payload.eq(Mux(stops.valid, stops.p.function_id, asked)),
            stopping.i.valid.eq(stops.valid | again),
            drained.p.function_id.eq(asked),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += stopping.o.ready.eq(1)
                with m.If(stopping.o.valid):
                    m.d.sync += asked.eq(stopping.o.payload)
                    m.next = "READ"
            with m.State("READ"):
                m.next = "LOOK"
            with m.State("LOOK"):
                writes = open_("writes", 1) if self.looks_at_writes else Const(0)
                with m.If(open_("reads", 1) | writes):
                    m.next = "AGAIN"
                with m.Else():
                    m.next = "DRAINED"
            with m.State("AGAIN"):
                with m.If(~stops.valid):
                    m.d.comb += again.eq(1)
                    m.next = "IDLE"
            with m.State("DRAINED"):
                m.d.comb += drained.valid.eq(1)
                with m.If(drained.ready):
                    m.next = "IDLE"

        return m
