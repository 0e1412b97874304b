"""Exact match by hash: four-way buckets of two tables, one displacement, a small stash."""

from amaranth import *
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Table", "TableOpcode", "TableStatus", "table_hash", "table_request", "table_answer",
           "LATENCY"]

WAYS, STASH = 4, 4
VICTIM, NOTHING = 2, 3  # what a write leaves in the other ways, beside the buckets
LATENCY = 2


class TableOpcode(enum.IntEnum):
    """What the engine shall do."""
    INSERT = 0
    REMOVE = 1


class TableStatus(enum.IntEnum):
    """How it ended."""
    OK        = 0
    FULL      = 1
    COLLISION = 2  # all hash bits of another row are the same: `row` tells it
    NOT_FOUND = 3


def table_hash(*, index_width, fingerprint_width):
    """The hash of a key: an index for each table, and a fingerprint."""
    return data.StructLayout({"first": index_width, "second": index_width,
                              "fingerprint": fingerprint_width})


def table_request(*, index_width, fingerprint_width, row_width):
    """Insert or remove ``row`` under ``hash``."""
    return data.StructLayout({
        "opcode": 1,
        "hash": table_hash(index_width=index_width, fingerprint_width=fingerprint_width),
        "row": row_width,
    })


def table_answer(*, row_width):
    """The last word of a request."""
    return data.StructLayout({"status": 2, "row": row_width})


class Table(wiring.Component):
    """From a key's hash to the number of its row, of which the caller compares the key in full.

    A way holds the index in the *other* table and the fingerprint, so that in one place two rows
    look alike only if all bits of their hashes are equal, and such an insert is refused: a lookup
    finds at most one candidate, and finds every row that was inserted, also while the engine moves
    it (it is written to its new bucket before its old one is overwritten).

    Timing
    ------
    Lookup: latency 2 cycles, one per cycle; the choice among the ways is no register. Insert: 6
    cycles, up to 41 with a displacement.
    After reset and ``clear`` a walk of ``2**index_width`` cycles, when ``ready`` is low.

    Parameters
    ----------
    index_width : int
        log2 of the buckets of each of the two tables.
    fingerprint_width : int
        Bits beside the indices.
    row_width : int
        Bits of a row's number.

    Members
    -------
    lookup : ``In(table_hash(...))``
        Hash of a key.
    found, row : ``Out(1)``, ``Out(row_width)``
        The candidate, 2 cycles later.
    requests : ``In(stream.Signature(table_request(...)))``
        Work for the engine.
    answers : ``Out(stream.Signature(table_answer(...)))``
        One for each request.
    clear : ``In(1)``
        Empty the table.
    ready : ``Out(1)``
        The table is cleared.
    """

    # What a mutant changes: refuse an insert whose hash is there already.
    _refuses_collision = True

    def __init__(self, *, index_width, fingerprint_width, row_width):
        for name, value in (("index_width", index_width), ("row_width", row_width),
                            ("fingerprint_width", fingerprint_width)):
            if value < 1:
                raise ValueError(f"`{name}` must be positive, not {value!r}")
        self.index_width = index_width
        self.row_width   = row_width
        self.hash_shape  = table_hash(index_width=index_width,
                                      fingerprint_width=fingerprint_width)
        self.way = data.StructLayout({
            "valid": 1, "other": index_width, "fingerprint": fingerprint_width, "row": row_width,
        })
        self.bucket = data.ArrayLayout(self.way, WAYS)
        self.stash_entry = data.StructLayout({"valid": 1, "hash": self.hash_shape,
                                              "row": row_width})
        super().__init__({
            "lookup":   In(self.hash_shape),
            "found":    Out(1),
            "row":      Out(row_width),
            "requests": In(stream.Signature(table_request(
                index_width=index_width, fingerprint_width=fingerprint_width,
                row_width=row_width))),
            "answers":  Out(stream.Signature(table_answer(row_width=row_width))),
            "clear":    In(1),
            "ready":    Out(1),
        })

    def _match(self, m, buckets, hashed, name):
        """One bit per way (and stash entry) that holds ``hashed``; the rows beside."""
        hits, rows = [], []
        for table, bucket in enumerate(buckets):
            other = hashed.second if table == 0 else hashed.first
            for way in range(WAYS):
                hit = Signal(name=f"{name}_{table}_{way}")
                entry = bucket[way]
                m.d.comb += hit.eq(entry.valid & (entry.other == other)
                                   & (entry.fingerprint == hashed.fingerprint))
                hits.append(hit)
                rows.append(entry.row)
        for number, entry in enumerate(self.stash):
            hit = Signal(name=f"{name}_stash_{number}")
            m.d.comb += hit.eq(entry.valid & (entry.hash.as_value() == hashed.as_value()))
            hits.append(hit)
            rows.append(entry.row)
        return hits, rows

    def elaborate(self, platform):
        m = Module()

        self.stash = [Signal(self.stash_entry, name=f"stash_{n}") for n in range(STASH)]
        memories = []
        for number in range(2):
            store = memory.Memory(shape=Shape.cast(self.bucket).width, depth=1 << self.index_width,
                                  init=[])
            m.submodules[f"table_{number}"] = store
            memories.append(store)
        self._look(m, [store.read_port() for store in memories])
        self._engine(m, [store.read_port() for store in memories],
                     [store.write_port() for store in memories])

        return m

    def _look(self, m, ports):
        """The fast path: read both buckets, compare, choose."""
        hash_1 = Signal(self.hash_shape)
        m.d.comb += [ports[0].addr.eq(self.lookup.first), ports[1].addr.eq(self.lookup.second)]
        m.d.sync += [hash_1.eq(self.lookup)]
        buckets = [Signal(self.bucket, name=f"looked_{n}") for n in range(2)]
        for bucket, port in zip(buckets, ports):
            m.d.comb += bucket.as_value().eq(port.data)
        now_hits, now_rows = self._match(m, buckets, hash_1, "lookup")
        hits = Signal(len(now_hits))
        rows = [Signal(self.row_width, name=f"looked_row_{n}") for n in range(len(now_rows))]
        m.d.sync += [hits.eq(Cat(now_hits)), *(row.eq(now) for row, now in zip(rows, now_rows))]
        # A row that is being moved may show twice: the same row, so OR-ing does no harm.
        chosen = 0
        for hit, row in zip(hits, rows):
            chosen = chosen | Mux(hit, row, 0)
        m.d.comb += [self.found.eq(hits.any()), self.row.eq(chosen)]

    def _engine(self, m, r_ports, w_ports):
        request, answer = self.requests.p, self.answers.p
        hashed = request.hash
        buckets = [Signal(self.bucket, name=f"bucket_{n}") for n in range(2)]
        walk = Signal(self.index_width)

        now_hits, rows = self._match(m, buckets, hashed, "engine")
        hits = Signal(len(now_hits))
        own  = Signal(len(now_hits))
        same_row = [row == request.row for row in rows]
        m.d.sync += [hits.eq(Cat(now_hits)),
                     own.eq(Cat(hit & same for hit, same in zip(now_hits, same_row)))]
        collision_row = Signal(self.row_width)
        chosen = 0
        for hit, row in zip(hits, rows):
            chosen = chosen | Mux(hit, row, 0)
        m.d.comb += collision_row.eq(chosen)

        def first_free(bucket):
            """One bit: the first way that is free."""
            taken = [bucket[n].valid for n in range(WAYS)]
            return Cat(~taken[way] & Cat(1, *taken[:way]).all() for way in range(WAYS))

        free = [Signal(WAYS, name=f"free_{n}") for n in range(2)]
        free_stash = Signal(STASH)
        stash_taken = [entry.valid for entry in self.stash]
        m.d.sync += [free[n].eq(first_free(buckets[n])) for n in range(2)]
        m.d.sync += free_stash.eq(Cat(~stash_taken[n] & Cat(1, *stash_taken[:n]).all()
                                      for n in range(STASH)))

        # What the next cycle writes: `value` into the ways of `sel`, the others as they are in
        # one of the two buckets, in the victim's, or empty.
        writes  = Signal(2)  # by table
        address = Signal(self.index_width)
        which   = Signal(2)
        sel     = Signal(WAYS)
        value   = Signal(self.way)
        base    = Signal(self.bucket)
        victim_bucket = Signal(self.bucket)
        m.d.sync += writes.eq(0)
        with m.Switch(which):
            for number, source in enumerate((*buckets, victim_bucket)):
                with m.Case(number):
                    m.d.comb += base.eq(source)
        for table in range(2):
            m.d.comb += [
                w_ports[table].addr.eq(address), w_ports[table].en.eq(writes[table]),
                w_ports[table].data.eq(Cat(Mux(sel[n], value, base[n]) for n in range(WAYS))),
            ]

        def write(table, at, source, ways, content):
            m.d.sync += [writes[table].eq(1), address.eq(at), which.eq(source), sel.eq(ways),
                         value.eq(content)]

        new = [Signal(self.way, name=f"new_{n}") for n in range(2)]
        for number, other in enumerate((hashed.second, hashed.first)):
            m.d.comb += [new[number].valid.eq(1), new[number].other.eq(other),
                         new[number].fingerprint.eq(hashed.fingerprint),
                         new[number].row.eq(request.row)]

        # The victim of a displacement: way `turn[:2]` of table `turn[2]`.
        turn   = Signal(range(2 * WAYS))
        victim = Signal(self.way)
        victim_free = Signal(WAYS)
        other_bucket, home = Signal(self.bucket), Signal(self.index_width)
        moved = Signal(self.way)
        m.d.comb += [
            other_bucket.as_value().eq(Mux(turn[2], r_ports[0].data, r_ports[1].data)),
            home.eq(Mux(turn[2], hashed.second, hashed.first)),
            moved.eq(victim), moved.other.eq(home),
        ]

        def end(status):
            m.d.sync += [answer.status.eq(status), answer.row.eq(collision_row),
                         self.answers.valid.eq(1)]
            m.next = "END"

        with m.If(self.answers.valid & self.answers.ready):
            m.d.sync += self.answers.valid.eq(0)
        clear = Signal()
        with m.If(self.clear):
            m.d.sync += clear.eq(1)

        m.d.comb += [r_ports[0].addr.eq(hashed.first), r_ports[1].addr.eq(hashed.second)]
        with m.FSM(init="CLEAR"):
            with m.State("CLEAR"):
                m.d.sync += [writes.eq(3), address.eq(walk), which.eq(NOTHING), sel.eq(0),
                             walk.eq(walk + 1), clear.eq(0)]
                m.d.sync += [entry.valid.eq(0) for entry in self.stash]
                with m.If(walk == (1 << self.index_width) - 1):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.ready.eq(~clear & ~writes.any())
                with m.If(clear):
                    m.next = "CLEAR"
                with m.Elif(self.requests.valid & ~self.answers.valid & ~writes.any()):
                    m.next = "LOOK"  # the buckets are read now
            with m.State("LOOK"):
                m.d.sync += [bucket.as_value().eq(port.data)
                             for bucket, port in zip(buckets, r_ports)]
                m.next = "MATCH"
            with m.State("MATCH"):
                m.next = "JUDGE"
            with m.State("JUDGE"):
                with m.If(request.opcode == TableOpcode.REMOVE):
                    end(Mux(own.any(), TableStatus.OK, TableStatus.NOT_FOUND))
                    for table, at in enumerate((hashed.first, hashed.second)):
                        mine = own[table * WAYS:(table + 1) * WAYS]
                        with m.If(mine.any()):
                            write(table, at, table, mine, 0)
                    for number, entry in enumerate(self.stash):
                        with m.If(own[2 * WAYS + number]):
                            m.d.sync += entry.valid.eq(0)
                with m.Elif(hits.any() & self._refuses_collision):
                    end(TableStatus.COLLISION)
                with m.Elif(free[0].any()):
                    write(0, hashed.first, 0, free[0], new[0])
                    end(TableStatus.OK)
                with m.Elif(free[1].any()):
                    write(1, hashed.second, 1, free[1], new[1])
                    end(TableStatus.OK)
                with m.Else():
                    m.d.sync += turn.eq(0)
                    m.next = "VICTIM"
            with m.State("VICTIM"):
                with m.Switch(turn):
                    for number in range(2 * WAYS):
                        with m.Case(number):
                            m.d.sync += victim.eq(buckets[number // WAYS][number % WAYS])
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += [r_ports[n].addr.eq(victim.other) for n in range(2)]
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += [victim_bucket.eq(other_bucket),
                             victim_free.eq(first_free(other_bucket))]
                m.next = "MOVE"
            with m.State("MOVE"):
                with m.If(victim_free.any()):
                    for table in range(2):
                        with m.If(turn[2] != table):
                            write(table, victim.other, VICTIM, victim_free, moved)
                    m.next = "MOVED"
                with m.Else():
                    m.d.sync += turn.eq(turn + 1)
                    m.next = "VICTIM"
                    with m.If(turn == 2 * WAYS - 1):
                        m.next = "STASH"
            with m.State("MOVED"):
                m.next = "REPLACE"
            with m.State("REPLACE"):
                # Lookups that read the old bucket with the victim still see it: same row.
                for number in range(2 * WAYS):
                    table = number // WAYS
                    with m.If(turn == number):
                        write(table, hashed.second if table else hashed.first, table,
                              1 << number % WAYS, new[table])
                end(TableStatus.OK)
            with m.State("STASH"):
                end(Mux(free_stash.any(), TableStatus.OK, TableStatus.FULL))
                for number, entry in enumerate(self.stash):
                    with m.If(free_stash[number]):
                        m.d.sync += [entry.valid.eq(1), entry.hash.eq(hashed),
                                     entry.row.eq(request.row)]
            with m.State("END"):
                # What was to be written is written in this cycle.
                m.d.comb += self.requests.ready.eq(1)
                m.next = "IDLE"
