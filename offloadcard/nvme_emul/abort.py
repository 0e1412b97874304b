"""Abort: which command in flight is meant, and what became of it."""

# Ref: nvme-base-1.4c, 5.1 (Abort command)

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .layouts import abort_row, command, ended_command, named_command
from .spec import Status

__all__ = ["Abort"]


class Abort(wiring.Component):
    """Find a command by its name, mark its slot, and say how it ended.

    Who walks through a transfer looks at the mark before each page: a marked command issues no
    further page and ends with Command Abort Requested when its earlier ones are over. A command
    that was past its last look ends as ever, and the Abort says so. A function aborts one command
    at a time.

    Timing
    ------
    A search takes one cycle a slot. The end of a marked command shows 4 cycles later.

    Parameters
    ----------
    function_id_width, qid_width, slot_width : int
        Widths in bits.

    Members
    -------
    commands : ``In(stream.Signature(command(...), always_ready=True))``
        Every command; not in two cycles in turn.
    ends : ``In(stream.Signature(ended_command(...), always_ready=True))``
        Commands that are over, at least 4 cycles apart.
    i : ``In(stream.Signature(named_command(...)))``
        The command to be aborted; taken when it is marked or was not found.
    found : ``Out(1)``
        It is marked; with the handshake of ``i``.
    slots : ``In(slot_width).array(3)``
        Slots to look up.
    marks : ``Out(1).array(3)``
        Whether they are marked, one cycle later.
    function_address : ``In(function_id_width)``
        Function to look up.
    function : ``Out(abort_row())``
        What became of its command, one cycle later.
    """

    check_owner = True  # a mutant leaves it out

    def __init__(self, *, function_id_width, qid_width, slot_width):
        self.function_id_width, self.slot_width = function_id_width, slot_width
        queue = {"function_id_width": function_id_width, "qid_width": qid_width}
        self.name_shape = named_command(**queue)
        super().__init__({
            "commands": In(stream.Signature(command(slot_width=slot_width, **queue),
                                            always_ready=True)),
            "ends":     In(stream.Signature(ended_command(slot_width=slot_width),
                                            always_ready=True)),
            "i":        In(stream.Signature(self.name_shape)),
            "found":    Out(1),
            "slots":    In(slot_width).array(3),
            "marks":    Out(1).array(3),
            "function_address": In(function_id_width),
            "function":         Out(abort_row()),
        })

    def elaborate(self, platform):
        m = Module()

        slots = 1 << self.slot_width

        def rows(name, shape, depth, reads):
            m.submodules[name] = store = memory.Memory(shape=shape, depth=depth, init=[])
            write = store.write_port()
            return (write, *(store.read_port(transparent_for=(write,)) for _ in range(reads)))

        # A slot lives while the two bits differ; each has one writer.
        names_w, names_s, names_e      = rows("names", self.name_shape, slots, 2)
        begun_w, begun_s, begun_e      = rows("begun", 1, slots, 2)
        ended_w, ended_s, ended_b      = rows("ended", 1, slots, 2)
        marks_w, marks_e, *marks_l     = rows("marks", 1, slots, 4)
        done_w, done_e, done_l         = rows("done", abort_row(), 1 << self.function_id_width, 2)

        # A command begins: its row, a cycle later, when the other bit is known.
        begins = Signal()
        slot_b = Signal(self.slot_width)
        m.d.sync += [begins.eq(self.commands.valid), slot_b.eq(self.commands.p.slot),
                     *(names_w.data[name].eq(self.commands.p[name])
                       for name in self.name_shape.members)]
        m.d.comb += [
            ended_b.addr.eq(self.commands.p.slot),
            names_w.addr.eq(slot_b), names_w.en.eq(begins),
            begun_w.addr.eq(slot_b), begun_w.en.eq(begins), begun_w.data.eq(~ended_b.data),
        ]

        # A command ends: no search finds it after the next cycle; only then its mark is read, so
        # that a mark is either seen or was never set.
        ends    = Signal(3)
        slot_e  = Signal(self.slot_width)
        aborted = Signal()
        owner   = Signal(self.function_id_width)
        m.d.sync += ends.eq(Cat(self.ends.valid, ends))
        with m.If(self.ends.valid):
            m.d.sync += [slot_e.eq(self.ends.p.slot),
                         aborted.eq(self.ends.p.status == Status.ABORT_REQUESTED)]
        m.d.comb += [
            begun_e.addr.eq(self.ends.p.slot),
            ended_w.addr.eq(slot_e), ended_w.data.eq(begun_e.data), ended_w.en.eq(ends[0]),
            marks_e.addr.eq(slot_e), names_e.addr.eq(slot_e),
            owner.eq(names_e.data.function_id), done_e.addr.eq(owner),
            done_w.addr.eq(owner), done_w.en.eq(ends[2] & marks_e.data),
            done_w.data.round.eq(~done_e.data.round), done_w.data.aborted.eq(aborted),
            done_l.addr.eq(self.function_address), self.function.eq(done_l.data),
        ]
        for address, mark, port in zip(self.slots, self.marks, marks_l):
            m.d.comb += [port.addr.eq(address), mark.eq(port.data)]

        # The search: one slot behind.
        scan   = Signal(range(slots + 1))
        behind = Signal(self.slot_width)
        hit    = Signal()
        # Judged in the next cycle: a command that ends has its mark read after that.
        struck = Signal()
        over   = Signal()
        place  = Signal(self.slot_width)
        m.d.comb += [
            names_s.addr.eq(scan), begun_s.addr.eq(scan), ended_s.addr.eq(scan),
            hit.eq((begun_s.data != ended_s.data) & (names_s.data.cid == self.i.p.cid)
                   & (names_s.data.qid == self.i.p.qid)
                   & ((names_s.data.function_id == self.i.p.function_id)
                      | int(not self.check_owner))),
            # A command that begins has no mark.
            marks_w.addr.eq(Mux(begins, slot_b, place)), marks_w.data.eq(~begins),
        ]
        m.d.sync += [behind.eq(scan), place.eq(behind), struck.eq(0), over.eq(0)]
        with m.FSM(name="search"):
            with m.State("IDLE"):
                m.d.sync += scan.eq(0)
                m.d.comb += marks_w.en.eq(begins)
                with m.If(self.i.valid):
                    m.next = "FIRST"
            with m.State("FIRST"):
                m.d.sync += scan.eq(scan + 1)
                m.d.comb += marks_w.en.eq(begins)
                m.next = "SEARCH"
            with m.State("SEARCH"):
                m.d.sync += scan.eq(scan + 1)
                m.d.comb += [marks_w.en.eq(begins | struck), self.found.eq(struck)]
                with m.If(struck & begins):
                    m.d.sync += scan.eq(place)  # once more
                    m.next = "FIRST"
                with m.Elif(struck | over):
                    m.d.comb += self.i.ready.eq(1)
                    m.next = "IDLE"
                with m.Else():
                    m.d.sync += [struck.eq(hit), over.eq(scan == slots)]

        return m
