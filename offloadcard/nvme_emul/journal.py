"""What commands did: the SMART log's counters and the error log, per function."""

# Ref: nvme-base-1.4c, 5.14.1.1 (Error Information), 5.14.1.2 (SMART / Health Information)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Queue

from .layouts import command, ended_command, error_row, journal_row
from .spec import Opcode
from .spec_pages import ERROR_ENTRIES

__all__ = ["Journal"]

UNIT_BLOCKS = 1000  # blocks of 512 octets in one data unit


class Journal(wiring.Component):
    """Count commands that succeeded, remember those that failed.

    A function's last failures stand in a ring of rows in memory; its error count goes on through
    controller level resets, its entries end with them.

    Timing
    ------
    One command in 4 cycles, up to 4 wait; a completion takes at least as long.

    Parameters
    ----------
    function_id_width, qid_width, slot_width : int
        Widths in bits.
    mdts_octets : int
        Largest transfer.

    Members
    -------
    commands : ``In(stream.Signature(command(...), always_ready=True))``
        Every command; kept by slot.
    ends : ``In(stream.Signature(ended_command(...), always_ready=True))``
        Commands that are over.
    clears : ``In(stream.Signature(function_id_width, always_ready=True))``
        Functions whose controllers were reset; at least 8 cycles apart.
    function_address : ``In(function_id_width)``
        Function to look up.
    function : ``Out(journal_row())``
        Its counters, one cycle later.
    entry_address : ``In(function_id_width + 2)``
        Entry to look up: number of the error modulo 4, and function above.
    entry : ``Out(error_row())``
        That entry, one cycle later.
    """

    def __init__(self, *, function_id_width, qid_width, slot_width, mdts_octets):
        if not 0 < mdts_octets <= 512 * UNIT_BLOCKS:
            raise ValueError(f"`mdts_octets` must be 1 to {512 * UNIT_BLOCKS}, "
                             f"not {mdts_octets!r}")
        self.function_id_width, self.slot_width = function_id_width, slot_width
        super().__init__({
            "commands": In(stream.Signature(command(
                function_id_width=function_id_width, qid_width=qid_width, slot_width=slot_width),
                always_ready=True)),
            "ends":     In(stream.Signature(ended_command(slot_width=slot_width),
                                            always_ready=True)),
            "clears":   In(stream.Signature(function_id_width, always_ready=True)),
            "function_address": In(function_id_width),
            "function":         Out(journal_row()),
            "entry_address":    In(function_id_width + 2),
            "entry":            Out(error_row()),
        })

    def elaborate(self, platform):
        m = Module()

        functions = 1 << self.function_id_width
        own_shape = {"function_id": self.function_id_width, "qid": 16, "cid": 16, "opcode": 8,
                     "nsid": 32, "lba": 64, "blocks": 11}

        def rows(name, shape, depth):
            m.submodules[name] = store = memory.Memory(shape=shape, depth=depth, init=[])
            write = store.write_port()
            return store, write

        given, given_w         = rows("given", data.StructLayout(own_shape), 1 << self.slot_width)
        counters, counters_w   = rows("counters", journal_row(), functions)
        entries, entries_w     = rows("entries", error_row(), functions * ERROR_ENTRIES)
        given_r    = given.read_port()
        counters_r = counters.read_port()
        counters_l = counters.read_port()
        entries_l  = entries.read_port()
        c = self.commands.p
        is_io = Signal()
        m.d.comb += [
            is_io.eq((c.qid != 0) & ~c.qid.all()),
            given_w.addr.eq(c.slot), given_w.en.eq(self.commands.valid),
            *(given_w.data[name].eq(c[name])
              for name in ("function_id", "qid", "cid", "opcode", "nsid")),
            given_w.data.lba.eq(Mux(is_io, Cat(c.cdw10, c.cdw11), 0)),
            given_w.data.blocks.eq(c.octets[9:]),
            counters_l.addr.eq(self.function_address), self.function.eq(counters_l.data),
            entries_l.addr.eq(self.entry_address), self.entry.eq(entries_l.data),
        ]

        m.submodules.queue = queue = Queue(self.ends.payload.shape(), depth=4)
        m.d.comb += [queue.i.valid.eq(self.ends.valid), queue.i.payload.eq(self.ends.payload)]
        clear       = Signal()
        clear_id    = Signal(self.function_id_width)
        clearing    = Signal()
        function_id = Signal(self.function_id_width)
        own         = Signal(data.StructLayout(own_shape))
        now         = Signal(journal_row())
        status      = Signal.like(queue.o.p.status)
        good        = Signal()
        is_read, is_write = Signal(), Signal()
        sums = {name: Signal(11, name=f"{name}_sum") for name in ("read", "written")}
        with m.If(self.clears.valid):
            m.d.sync += [clear.eq(1), clear_id.eq(self.clears.payload)]
        m.d.comb += [
            given_r.addr.eq(queue.o.p.slot), counters_r.addr.eq(function_id),
            counters_w.addr.eq(function_id), counters_w.data.eq(now),
            entries_w.addr.eq(Cat(now.errors[:2], function_id)),
            entries_w.data.error_count.eq(now.errors + 1),
            entries_w.data.status.eq(status),
            *(entries_w.data[name].eq(own[name]) for name in ("qid", "cid", "lba", "nsid")),
        ]

        with m.FSM(name="journal"):
            with m.State("IDLE"):
                m.d.sync += [status.eq(queue.o.p.status), clearing.eq(0)]
                with m.If(queue.o.valid):
                    m.d.comb += queue.o.ready.eq(1)
                    m.next = "ROW"
                    with m.If(~queue.o.p.told):
                        m.next = "IDLE"
                with m.Elif(clear):
                    m.d.sync += [clear.eq(self.clears.valid), clearing.eq(1),
                                 function_id.eq(clear_id)]
                    m.next = "COUNTERS"
            with m.State("ROW"):
                m.d.sync += [own.eq(given_r.data), function_id.eq(given_r.data.function_id)]
                m.d.comb += counters_r.addr.eq(given_r.data.function_id)
                m.next = "LOAD"
            with m.State("COUNTERS"):
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.sync += [
                    now.eq(counters_r.data), good.eq((status == 0) & ~clearing),
                    is_read.eq((own.qid != 0) & ((own.opcode == Opcode.READ)
                                                 | (own.opcode == Opcode.COMPARE))),
                    is_write.eq((own.qid != 0) & (own.opcode == Opcode.WRITE)),
                    sums["read"].eq(counters_r.data.read_rest + own.blocks),
                    sums["written"].eq(counters_r.data.written_rest + own.blocks),
                ]
                m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += counters_w.en.eq(1)
                with m.If(clearing):
                    m.d.comb += counters_w.data.entries.eq(0)
                with m.Elif(~good):
                    m.d.comb += [
                        entries_w.en.eq(1), counters_w.data.errors.eq(now.errors + 1),
                        counters_w.data.entries.eq(
                            Mux(now.entries == ERROR_ENTRIES, now.entries, now.entries + 1)),
                    ]
                for flag, name, commands in ((is_read, "read", "reads"),
                                             (is_write, "written", "writes")):
                    total = sums[name]
                    with m.If(good & flag):
                        m.d.comb += [
                            counters_w.data[commands].eq(now[commands] + 1),
                            counters_w.data[f"{name}_rest"].eq(total),
                        ]
                        with m.If(total >= UNIT_BLOCKS):
                            m.d.comb += [
                                counters_w.data[f"{name}_rest"].eq(total - UNIT_BLOCKS),
                                counters_w.data[f"{name}_units"].eq(now[f"{name}_units"] + 1),
                            ]
                m.next = "IDLE"

        return m
