"""The flow table: from a UFID to its entry, and the engine that inserts, deletes and scans."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.delay import Delay
from ..rtl.table import Table
from .engine import Engine
from .keyed_hash import KeyedHash
from .rows import Rows
from .spec import Command, Completion, FlowEntry, Key

__all__ = ["FlowTable", "flow_command", "flow_result", "FINGERPRINT_BITS", "LATENCY"]

FINGERPRINT_BITS = 16
LATENCY = 6
RING    = 8  # commands and completions that wait


def flow_command():
    """A command with all that it needs."""
    return data.StructLayout({"command": Command, "key": Key, "entry": FlowEntry})


def flow_result(*, row_width, hash_width):
    """What the table says of a UFID. ``entry`` counts with ``hit`` only."""
    return data.StructLayout({"hit": 1, "handle": row_width, "entry": FlowEntry,
                              "hash": hash_width})


class FlowTable(wiring.Component):
    """Look up one UFID per cycle; on the other ports of its memories insert, delete and scan.

    The hash chooses a candidate, then the whole key is compared: a hit is never another's flow. A
    flow is found from the moment that its insert is completed, until that of its delete.

    Timing
    ------
    Lookup: latency 8 cycles, one per cycle. Commands: see :class:`~.engine.Engine`; its hashes need
    a cycle without a lookup, for which it asks by ``hole``.

    Parameters
    ----------
    flows : int
        Rows; a power of two, 16 or more.

    Members
    -------
    key, valid : ``In(Key)``, ``In(1)``
        A UFID to look up.
    o : ``Out(flow_result(...))``
        What there is, 6 cycles later.
    commands : ``In(stream.Signature(flow_command()))``
        The command ring's input.
    command_room : ``Out(8)``
        Free places of the ring.
    completions : ``Out(stream.Signature(Completion))``
        One for each command, in order; ``completed`` of them wait.
    hole : ``Out(1)``
        Leave a cycle without packet, once.
    clear_row, clear, cleared : clearing of a row's counters
        ``clear`` is held until ``cleared``.
    wrote : ``Out(1)``
        The row ``clear_row`` is being written.
    show, seen : ``Out(row)``, ``In(16)``
        A row's last-seen epoch, 1 cycle after ``show``.
    seed, load : ``In(64)``, ``In(1)``
        Empty the table and key the hash anew.
    ready : ``Out(1)``
        The table is empty or in use; not being cleared.
    """

    def __init__(self, *, flows):
        if flows < 16 or flows & (flows - 1):
            raise ValueError(f"`flows` must be a power of two, 16 or more, not {flows!r}")
        self.flows = flows
        self.row_width   = (flows - 1).bit_length()
        self.index_width = self.row_width - 2
        self.hash_width  = 2 * self.index_width + FINGERPRINT_BITS
        super().__init__({
            "key":          In(Key),
            "valid":        In(1),
            "o":            Out(flow_result(row_width=self.row_width, hash_width=self.hash_width)),
            "commands":     In(stream.Signature(flow_command())),
            "command_room": Out(8),
            "completions":  Out(stream.Signature(Completion)),
            "completed":    Out(8),
            "hole":         Out(1),
            "clear_row":    Out(self.row_width),
            "clear":        Out(1),
            "wrote":        Out(1),
            "cleared":      In(1),
            "show":         Out(self.row_width),
            "seen":         In(16),
            "seed":         In(64),
            "load":         In(1),
            "ready":        Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.hash  = hashed = KeyedHash(width=384, bits=self.hash_width)
        m.submodules.table = table = Table(index_width=self.index_width,
                                           fingerprint_width=FINGERPRINT_BITS,
                                           row_width=self.row_width)
        m.submodules.rows  = rows = Rows(row_width=self.row_width)
        m.submodules.engine = engine = Engine(row_width=self.row_width,
                                              hash_shape=table.hash_shape)
        m.submodules.commands    = commands = Queue(flow_command(), depth=RING)
        m.submodules.completions = completions = Queue(Completion, depth=RING)
        wiring.connect(m, wiring.flipped(self.commands), commands.i)
        wiring.connect(m, commands.o, engine.commands)
        wiring.connect(m, engine.completions, completions.i)
        wiring.connect(m, completions.o, wiring.flipped(self.completions))
        wiring.connect(m, engine.requests, table.requests)
        wiring.connect(m, table.answers, engine.answers)
        m.d.comb += [
            self.command_room.eq(RING - commands.level), self.completed.eq(completions.level),
        ]

        # The packets' lookup has the right of way; the engine hashes in a hole.
        key = Signal(384)
        m.d.comb += [
            key.eq(Mux(self.valid, self.key.as_value(), engine.key)),
            hashed.i.eq(key), hashed.seed.eq(self.seed), hashed.load.eq(self.load),
            engine.hash_granted.eq(~self.valid),
            engine.hash.eq(hashed.o),
            table.lookup.as_value().eq(hashed.o),
            table.clear.eq(self.load),
            engine.clear.eq(self.load),
            self.ready.eq(table.ready & engine.ready & hashed.ready),
            self.hole.eq(engine.hole),
            self.clear_row.eq(engine.row), self.clear.eq(engine.clear_counters),
            self.wrote.eq(engine.write),
            engine.cleared.eq(self.cleared),
            self.show.eq(engine.row), engine.seen.eq(self.seen),
        ]

        # Cycle 1: hash. 3: candidate. 6: its row, compared.
        m.submodules.key_3  = key_3 = Delay(384, cycles=3)
        m.submodules.hash_6 = hash_6 = Delay(self.hash_width, cycles=5)
        m.d.comb += [
            key_3.i.eq(self.key.as_value()), hash_6.i.eq(hashed.o),
            rows.key.eq(key_3.o), rows.found.eq(table.found), rows.row.eq(table.row),
            rows.engine_row.eq(engine.row), rows.write.eq(engine.write),
            rows.write_key.eq(engine.write_key), rows.write_entry.eq(engine.write_entry),
            engine.record_key.eq(rows.engine_key), engine.record_entry.eq(rows.engine_entry),
            self.o.hit.eq(rows.hit), self.o.handle.eq(rows.handle), self.o.entry.eq(rows.entry),
            self.o.hash.eq(hash_6.o),
        ]

        return m
