"""The flow table: from a UFID to its entry, and the engine that inserts, deletes and scans."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.delay import Delay
from ..rtl.table import Table
from .engine import Engine
from .keyed_hash import KeyedHash
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
    Lookup: latency 6 cycles, one per cycle. Insert: about 30 cycles; the engine's hashes need a
    cycle without a lookup, for which it asks by ``hole``. SCAN: 2 cycles a row.

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
        One for each command, in order.
    hole : ``Out(1)``
        Leave a cycle without packet, once.
    clear_row, clear, cleared : clearing of a row's counters
        ``clear`` is held until ``cleared``.
    show, seen : ``Out(row)``, ``In(16)``
        A row's last-seen epoch, 1 cycle after ``show``.
    seed, load : ``In(64)``, ``In(1)``
        Empty the table and key the hash anew.
    ready : ``Out(1)``
        The table is empty or in use; not being cleared.
    """

    # What a mutant changes: compare the whole key.
    _compares_key = True

    def __init__(self, *, flows):
        if flows < 16 or flows & (flows - 1):
            raise ValueError(f"`flows` must be a power of two, 16 or more, not {flows!r}")
        self.flows = flows
        self.row_width   = (flows - 1).bit_length()
        self.index_width = self.row_width - 2
        self.hash_width  = 2 * self.index_width + FINGERPRINT_BITS
        self.record = data.StructLayout({"key": Key, "entry": FlowEntry})
        super().__init__({
            "key":          In(Key),
            "valid":        In(1),
            "o":            Out(flow_result(row_width=self.row_width, hash_width=self.hash_width)),
            "commands":     In(stream.Signature(flow_command())),
            "command_room": Out(8),
            "completions":  Out(stream.Signature(Completion)),
            "hole":         Out(1),
            "clear_row":    Out(self.row_width),
            "clear":        Out(1),
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
        m.submodules.rows  = rows = memory.Memory(shape=Shape.cast(self.record).width,
                                                  depth=self.flows, init=[])
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
        m.d.comb += self.command_room.eq(RING - commands.level)

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
            engine.cleared.eq(self.cleared),
            self.show.eq(engine.row), engine.seen.eq(self.seen),
        ]

        # Cycle 1: hash. 4: candidate. 5: its row. 6: compared.
        r_port, engine_r, w_port = rows.read_port(), rows.read_port(), rows.write_port()
        record, engine_record = Signal(self.record), Signal(self.record)
        m.submodules.key_5  = key_5 = Delay(384, cycles=5)
        m.submodules.hash_5 = hash_5 = Delay(self.hash_width, cycles=4)
        found_5, row_5 = Signal(), Signal(self.row_width)
        m.d.comb += [
            key_5.i.eq(self.key.as_value()), hash_5.i.eq(hashed.o),
            r_port.addr.eq(table.row), record.as_value().eq(r_port.data),
            engine_r.addr.eq(engine.row), engine_record.as_value().eq(engine_r.data),
            engine.record_key.eq(engine_record.key.as_value()),
            engine.record_entry.eq(engine_record.entry),
            w_port.addr.eq(engine.row), w_port.en.eq(engine.write),
            w_port.data.eq(Cat(engine.write_key, engine.write_entry)),
        ]
        m.d.sync += [found_5.eq(table.found), row_5.eq(table.row)]
        same = Signal()
        m.d.comb += same.eq(record.key.as_value() == key_5.o)
        m.d.sync += [
            self.o.hit.eq(found_5 & record.entry.valid & (same | (not self._compares_key))),
            self.o.handle.eq(row_5),
            self.o.entry.eq(record.entry),
            self.o.hash.eq(hash_5.o),
        ]

        return m
