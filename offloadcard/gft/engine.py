"""The flow table's engine: commands of the control plane, one at a time, beside the lookups."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.table import TableOpcode, TableStatus, table_answer, table_request
from .spec import Command, Completion, FlowEntry, Key, Opcode, Status

__all__ = ["Engine"]


class Engine(wiring.Component):
    """Execute INSERT, DELETE, UPDATE and SCAN; each ends with exactly one completion.

    INSERT writes the row first and the bucket last, DELETE the bucket first and the row last, so a
    lookup sees a flow whole or not at all.

    Timing
    ------
    See :class:`~.flow_table.FlowTable`. After reset and ``clear`` a walk over all rows.

    Parameters
    ----------
    row_width : int
        log2 of the rows.
    hash_shape : Layout
        Shape of the table's hash.

    Members
    -------
    commands, completions : streams
        See :class:`~.flow_table.FlowTable`.
    key, hash_granted, hash : ``Out(384)``, ``In(1)``, ``In``
        A key to hash; with ``hash_granted`` it was taken, and ``hash`` shows it 1 cycle later.
    hole : ``Out(1)``
        Leave a cycle without packet, once.
    row : ``Out(row_width)``
        The row which is read (``record_*``, ``seen``, 1 cycle later), written, or cleared.
    write, write_key, write_entry : ``Out``
        Write the row.
    clear_counters, cleared : ``Out(1)``, ``In(1)``
        Clear the row's counters.
    requests, answers : streams
        To and from the table of buckets.
    clear, ready : ``In(1)``, ``Out(1)``
        Free all rows.
    """

    def __init__(self, *, row_width, hash_shape):
        self.row_width  = row_width
        self.hash_shape = hash_shape
        members = hash_shape.members
        widths = {"index_width": members["first"], "fingerprint_width": members["fingerprint"],
                  "row_width": row_width}
        super().__init__({
            "commands":       In(stream.Signature(data.StructLayout(
                {"command": Command, "key": Key, "entry": FlowEntry}))),
            "completions":    Out(stream.Signature(Completion)),
            "key":            Out(384),
            "hash_granted":   In(1),
            "hash":           In(Shape.cast(hash_shape).width),
            "hole":           Out(1),
            "row":            Out(row_width),
            "record_key":     In(384),
            "record_entry":   In(FlowEntry),
            "seen":           In(16),
            "write":          Out(1),
            "write_key":      Out(384),
            "write_entry":    Out(512),
            "clear_counters": Out(1),
            "cleared":        In(1),
            "requests":       Out(stream.Signature(table_request(**widths))),
            "answers":        In(stream.Signature(table_answer(row_width=row_width))),
            "clear":          In(1),
            "ready":          Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        request = self.commands.p
        command = request.command
        done    = self.completions.p
        handle  = Signal(self.row_width)
        walk    = Signal(self.row_width)
        clear   = Signal()
        removes = Signal()
        m.d.comb += [
            handle.eq(command.handle),
            removes.eq(command.opcode == Opcode.DELETE),
            self.row.eq(handle),
            self.key.eq(Mux(removes, self.record_key, request.key.as_value())),
            self.write_key.eq(Mux(command.opcode == Opcode.UPDATE, self.record_key,
                                  request.key.as_value())),
            self.requests.p.opcode.eq(Mux(removes, TableOpcode.REMOVE, TableOpcode.INSERT)),
            self.requests.p.row.eq(handle),
            done.valid.eq(1),
            done.tag.eq(command.tag),
        ]
        hashed = Signal(self.hash_shape)
        m.d.comb += self.requests.p.hash.eq(hashed)
        entry = Signal(FlowEntry)
        m.d.comb += [entry.eq(request.entry), entry.valid.eq(1)]
        with m.If(self.clear):
            m.d.sync += clear.eq(1)

        def end(status, row=handle):
            m.d.sync += [self.completions.valid.eq(1), done.status.eq(status), done.handle.eq(row)]
            m.next = "END"

        def write(value):
            m.d.comb += [self.write.eq(1), self.write_entry.eq(value)]

        wide = C(0, 512)
        with m.FSM(init="CLEAR"):
            with m.State("CLEAR"):
                m.d.comb += self.row.eq(walk)
                write(wide)
                m.d.sync += [walk.eq(walk + 1), clear.eq(0)]
                with m.If(walk.all()):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.ready.eq(~clear)
                with m.If(clear):
                    m.d.sync += walk.eq(0)
                    m.next = "CLEAR"
                with m.Elif(self.commands.valid):
                    m.next = "START"  # the row is read now
            with m.State("START"):
                taken = self.record_entry.valid
                m.d.sync += walk.eq(handle)
                with m.If(command.handle >> self.row_width):
                    end(Status.OUT_OF_RANGE)
                with m.Else():
                    with m.Switch(command.opcode):
                        with m.Case(Opcode.NOP):
                            end(Status.OK)
                        with m.Case(Opcode.INSERT):
                            m.next = "HASH"
                            m.d.comb += self.hole.eq(~taken)
                            with m.If(taken):
                                end(Status.BUSY_ROW)
                        with m.Case(Opcode.DELETE):
                            m.next = "HASH"
                            m.d.comb += self.hole.eq(taken)
                            with m.If(~taken):
                                end(Status.NOT_FOUND)
                        with m.Case(Opcode.UPDATE):
                            end(Mux(taken, Status.OK, Status.NOT_FOUND))
                            with m.If(taken):
                                write(entry.as_value())
                        with m.Case(Opcode.SCAN):
                            m.next = "SCAN"
                        with m.Default():
                            end(Status.BAD_OPCODE)
            with m.State("HASH"):
                with m.If(self.hash_granted):
                    m.next = "HASHED"
            with m.State("HASHED"):
                m.d.sync += hashed.as_value().eq(self.hash)
                m.d.comb += self.hole.eq(~removes)
                m.next = "COUNTERS"
                with m.If(removes):
                    m.next = "REQUEST"
            with m.State("COUNTERS"):
                m.d.comb += self.clear_counters.eq(1)
                with m.If(self.cleared):
                    write(entry.as_value())
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.requests.valid.eq(1)
                with m.If(self.requests.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.answers.ready.eq(1)
                m.d.comb += self.row.eq(Mux(removes, handle, self.answers.p.row))
                with m.If(self.answers.valid):
                    m.d.sync += walk.eq(self.answers.p.row)
                    with m.If(removes):
                        # A row whose bucket was not there would be our mistake; it is free now.
                        write(wide)
                        end(Status.OK)
                    with m.Elif(self.answers.p.status == TableStatus.OK):
                        end(Status.OK)
                    with m.Elif(self.answers.p.status == TableStatus.FULL):
                        m.next = "UNDO-FULL"
                    with m.Else():
                        m.next = "UNDO-COLLISION"  # the other's row is read now
            with m.State("UNDO-FULL"):
                write(wide)
                end(Status.FULL)
            with m.State("UNDO-COLLISION"):
                write(wide)
                end(Mux(self.record_key == request.key.as_value(), Status.EXISTS,
                        Status.COLLISION), row=walk)
            with m.State("SCAN"):
                m.d.comb += self.row.eq(walk)
                m.next = "SCANNED"
            with m.State("SCANNED"):
                m.d.comb += self.row.eq(walk)
                m.d.sync += walk.eq(walk + 1)
                m.next = "SCAN"
                idle = Signal(16)
                m.d.comb += idle.eq(self.seen - command.epoch)
                with m.If(self.record_entry.valid & idle[15]):
                    end(Status.OK, row=walk)
                with m.Elif(walk.all()):
                    end(Status.NOT_FOUND, row=walk)
            with m.State("END"):
                with m.If(self.completions.ready):
                    m.d.sync += self.completions.valid.eq(0)
                    m.d.comb += self.commands.ready.eq(1)
                    m.next = "IDLE"

        return m
