"""The flow table's engine: commands of the control plane, one at a time, beside the lookups."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.table import TableOpcode, TableStatus, table_answer, table_request
from .spec import Command, Completion, FlowEntry, Key, Opcode, Status

__all__ = ["Engine"]

CHUNK = 16  # bits of the key that one stage compares together


class Engine(wiring.Component):
    """Execute the commands of :class:`~.spec.Opcode`; each ends with exactly one completion.

    INSERT writes the row first and the bucket last, DELETE the bucket first and the row last, so a
    lookup sees a flow whole or not at all.

    Timing
    ------
    INSERT 13 cycles, DELETE 12, EXPIRE 16 and one for each row passed, SCAN 8 and one for each row
    passed; more where a victim moves, and up to 12 while every cycle brings a packet (measured by
    ``tests/gft/test_flow_table.py``). After reset and ``clear`` a walk over all rows.

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

        request, done = self.commands.p, self.completions.p
        command = request.command
        handle  = Signal(self.row_width)
        m.d.comb += handle.eq(command.handle)

        # Facts of the command, so that no state decodes it.
        inserts, deletes, updates, scans, expires, beyond, known = (
            Signal(name=name) for name in ("inserts", "deletes", "updates", "scans", "expires",
                                           "beyond", "known"))
        m.d.sync += [
            inserts.eq(command.opcode == Opcode.INSERT),
            deletes.eq(command.opcode == Opcode.DELETE),
            updates.eq(command.opcode == Opcode.UPDATE),
            scans.eq((command.opcode == Opcode.SCAN) | (command.opcode == Opcode.EXPIRE)),
            expires.eq(command.opcode == Opcode.EXPIRE),
            known.eq(command.opcode <= Opcode.EXPIRE),
            beyond.eq(command.handle >> self.row_width != 0),
        ]

        row     = Signal(self.row_width)
        clear   = Signal()
        removes = Signal()  # DELETE, or EXPIRE that has found a row
        hashed  = Signal(self.hash_shape)
        key     = Signal(384)
        clears  = Signal()
        entry   = Signal(FlowEntry)
        m.d.comb += [
            self.row.eq(row), self.key.eq(key),
            self.write_key.eq(Mux(updates, self.record_key, request.key.as_value())),
            self.requests.p.opcode.eq(Mux(removes, TableOpcode.REMOVE, TableOpcode.INSERT)),
            self.requests.p.row.eq(row), self.requests.p.hash.eq(hashed),
            self.clear_counters.eq(clears),
            entry.eq(request.entry), entry.valid.eq(1),
            done.valid.eq(1), done.tag.eq(command.tag),
        ]
        with m.If(self.clear):
            m.d.sync += clear.eq(1)
        with m.If(self.cleared):
            m.d.sync += clears.eq(0)

        def end(status, of=row):
            m.d.sync += [self.completions.valid.eq(1), done.status.eq(status), done.handle.eq(of)]
            m.next = "END"

        def write(value):
            m.d.comb += [self.write.eq(1), self.write_entry.eq(value)]

        wide, taken = C(0, 512), self.record_entry.valid
        # The scan: rows in flight behind `row`, and whether the last of them is idle.
        row_1, row_2 = Signal.like(row), Signal.like(row)
        reads_1, reads_2, idle_2, last_2 = (Signal(name=name) for name in (
            "reads_1", "reads_2", "idle_2", "last_2"))
        since = Signal(16)
        same  = Signal(384 // CHUNK)
        m.d.comb += since.eq(self.seen - command.epoch)
        m.d.sync += [
            row_1.eq(row), row_2.eq(row_1), reads_1.eq(0), reads_2.eq(reads_1),
            idle_2.eq(taken & since[15]), last_2.eq(row_1.all()),
            same.eq(Cat(self.record_key[n:n + CHUNK] == request.key.as_value()[n:n + CHUNK]
                        for n in range(0, 384, CHUNK))),
        ]

        with m.FSM(init="CLEAR"):
            with m.State("CLEAR"):
                write(wide)
                m.d.sync += [row.eq(row + 1), clear.eq(0)]
                with m.If(row.all()):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.ready.eq(~clear)
                m.d.sync += [row.eq(handle), removes.eq(0)]
                with m.If(clear):
                    m.d.sync += row.eq(0)
                    m.next = "CLEAR"
                with m.Elif(self.commands.valid):
                    m.next = "READ"
            with m.State("READ"):
                m.next = "START"
                with m.If(beyond):
                    end(Status.OUT_OF_RANGE, of=handle)
                with m.Elif(scans & ~removes):
                    m.next = "SCAN"
            with m.State("START"):
                # The row has come.
                m.d.sync += [key.eq(Mux(inserts, request.key.as_value(), self.record_key)),
                             removes.eq(removes | deletes)]
                with m.If(inserts):
                    m.next = "HASH"
                    # One hole serves the hash, and later the counters.
                    m.d.comb += self.hole.eq(~taken)
                    m.d.sync += clears.eq(~taken)
                    with m.If(taken):
                        end(Status.BUSY_ROW)
                with m.Elif(deletes | removes):
                    m.next = "HASH"
                    m.d.comb += self.hole.eq(taken)
                    with m.If(~taken):
                        end(Status.NOT_FOUND)
                with m.Elif(updates):
                    end(Mux(taken, Status.OK, Status.NOT_FOUND))
                    with m.If(taken):
                        write(entry.as_value())
                with m.Else():
                    end(Mux(known, Status.OK, Status.BAD_OPCODE))
            with m.State("HASH"):
                with m.If(self.hash_granted):
                    m.next = "HASHED"
            with m.State("HASHED"):
                m.d.sync += hashed.as_value().eq(self.hash)
                m.next = "REQUEST"
                with m.If(inserts):
                    m.next = "COUNTERS"
            with m.State("COUNTERS"):
                with m.If(~clears):
                    write(entry.as_value())
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.requests.valid.eq(1)
                with m.If(self.requests.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.answers.ready.eq(1)
                with m.If(self.answers.valid):
                    with m.If(removes):
                        # A row whose bucket was not there would be our mistake; it is free now.
                        write(wide)
                        end(Status.OK)
                    with m.Elif(self.answers.p.status == TableStatus.OK):
                        end(Status.OK)
                    with m.Else():
                        write(wide)
                        m.d.sync += row.eq(self.answers.p.row)
                        m.next = "OTHER"
                        with m.If(self.answers.p.status == TableStatus.FULL):
                            end(Status.FULL)
            with m.State("OTHER"):
                m.next = "COMPARE"  # the row of equal hash is read now
            with m.State("COMPARE"):
                m.next = "COMPARED"
            with m.State("COMPARED"):
                end(Mux(same.all(), Status.EXISTS, Status.COLLISION))
            with m.State("SCAN"):
                m.d.sync += [row.eq(row + 1), reads_1.eq(1)]
                with m.If(reads_2 & idle_2):
                    m.d.sync += [row.eq(row_2), removes.eq(1), reads_1.eq(0)]
                    m.next = "READ"
                    with m.If(~expires):
                        end(Status.OK, of=row_2)
                with m.Elif(reads_2 & last_2):
                    end(Status.NOT_FOUND, of=row_2)
            with m.State("END"):
                with m.If(self.completions.ready):
                    m.d.sync += self.completions.valid.eq(0)
                    m.d.comb += self.commands.ready.eq(1)
                    m.next = "IDLE"

        return m
