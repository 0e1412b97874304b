"""Allowances: how many commands and octets a function may ask for."""

# Ref: itu-t-i.371, annex A (token bucket)

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.buffer import Queue
from offloadcard.rtl.worklist import WorkList

from .layouts import allowance, command

__all__ = ["Allowance", "STEP"]

STEP     = 16   # cycles from one function's refill to the next function's
FRACTION = 16


class Allowance(wiring.Component):
    """Two token buckets a function, of commands and of blocks of 512 octets, in memory.

    A command is charged when it is known, whatever is left; a function in debt is not visited
    until its buckets are even again. So nothing is held on the card for a function over its
    allowance: its commands wait in its own memory. Beyond the burst it gets at most what a visit
    fetches before it is charged; the rate is exact, since debt is paid.

    Timing
    ------
    One command in 4 cycles, up to 4 wait; a refill every 16 cycles, all functions in turn.

    Parameters
    ----------
    function_id_width, qid_width, slot_width : int
        Widths in bits.

    Members
    -------
    commands : ``In(stream.Signature(command(...), always_ready=True))``
        Every command; those of the admin queue are free.
    row : ``In(allowance())``
        What ``store`` stores.
    store : ``In(1)``
        Store ``row`` for ``store_address``, and look up ``exceeded`` of it.
    store_address : ``In(function_id_width)``
        Function of the window.
    exceeded : ``In(stream.Signature(function_id_width, always_ready=True))``
        Functions that were put off; not in two cycles in turn.
    exceeded_count : ``Out(32)``
        How often that function was put off, one cycle later; wraps.
    allowed_address : ``In(function_id_width)``
        Function to look up.
    allowed : ``Out(1)``
        It is not in debt, one cycle later.
    refills : ``Out(stream.Signature(function_id_width))``
        Functions that are no longer in debt.
    indebted : ``Out(1)``
        Some function is in debt.
    """

    def __init__(self, *, function_id_width, qid_width, slot_width):
        self.function_id_width = function_id_width
        news = stream.Signature(function_id_width, always_ready=True)
        super().__init__({
            "commands": In(stream.Signature(command(
                function_id_width=function_id_width, qid_width=qid_width, slot_width=slot_width),
                always_ready=True)),
            "row":             In(allowance()),
            "store":           In(1),
            "store_address":   In(function_id_width),
            "exceeded":        In(news),
            "exceeded_count":  Out(32),
            "allowed_address": In(function_id_width),
            "allowed":         Out(1),
            "refills":         Out(stream.Signature(function_id_width)),
            "indebted":        Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        functions = 1 << self.function_id_width
        balance_shape = data.StructLayout({"commands": signed(40), "blocks": signed(48)})

        def rows(name, shape, reads):
            m.submodules[name] = store = memory.Memory(shape=shape, depth=functions, init=[])
            write = store.write_port()
            return (write, *(store.read_port() for _ in range(reads)))

        limits_w, limits_r      = rows("limits", allowance(), 1)
        balance_w, balance_r    = rows("balances", balance_shape, 1)
        debts_w, debts_l        = rows("debts", 1, 1)
        counts_w, counts_r, counts_l = rows("counts", 32, 2)
        put_off, put_off_id = Signal(), Signal(self.function_id_width)
        m.d.sync += [put_off.eq(self.exceeded.valid), put_off_id.eq(self.exceeded.payload)]
        m.d.comb += [
            limits_w.addr.eq(self.store_address), limits_w.data.eq(self.row),
            limits_w.en.eq(self.store),
            debts_l.addr.eq(self.allowed_address), self.allowed.eq(~debts_l.data),
            counts_r.addr.eq(self.exceeded.payload), counts_w.addr.eq(put_off_id),
            counts_w.data.eq(counts_r.data + 1), counts_w.en.eq(put_off),
            counts_l.addr.eq(self.store_address), self.exceeded_count.eq(counts_l.data),
        ]

        # Charges wait here; refills come in turn.
        charge_shape = data.StructLayout({"function_id": self.function_id_width, "blocks": 20})
        m.submodules.charges = charges = Queue(charge_shape, depth=4)
        m.submodules.free    = free    = WorkList(count=functions)
        wiring.connect(m, free.o, wiring.flipped(self.refills))
        c = self.commands.p
        turn = Signal(range(STEP))
        next_ = Signal(self.function_id_width)
        m.d.sync += turn.eq(turn + 1)
        due = Signal()
        with m.If(turn == 0):
            m.d.sync += due.eq(1)
        m.d.comb += [
            charges.i.valid.eq(self.commands.valid & (c.qid != 0) & ~c.qid.all()),
            charges.i.p.function_id.eq(c.function_id), charges.i.p.blocks.eq(c.octets[9:]),
        ]

        function_id = Signal(self.function_id_width)
        refill      = Signal()
        blocks      = Signal(20)
        limits      = Signal(allowance())
        was         = Signal(balance_shape)
        sums        = Signal(balance_shape)
        debt, owed  = Signal(), Signal()
        debtors     = Signal(range(functions + 1))
        m.d.comb += [
            limits_r.addr.eq(function_id), balance_r.addr.eq(function_id),
            balance_w.addr.eq(function_id), debts_w.addr.eq(function_id),
            debts_w.data.eq(debt), free.i.payload.eq(function_id),
            owed.eq(was.commands[-1] | was.blocks[-1]),
        ]
        m.d.sync += self.indebted.eq(debtors != 0)
        with m.FSM(name="balance"):
            with m.State("IDLE"):
                m.d.sync += blocks.eq(charges.o.p.blocks)
                with m.If(charges.o.valid):
                    m.d.comb += charges.o.ready.eq(1)
                    m.d.sync += [function_id.eq(charges.o.p.function_id), refill.eq(0)]
                    m.next = "ROWS"
                with m.Elif(due):
                    m.d.sync += [function_id.eq(next_), next_.eq(next_ + 1), due.eq(turn == 0),
                                 refill.eq(1)]
                    m.next = "ROWS"
            with m.State("ROWS"):
                m.next = "SUM"
            with m.State("SUM"):
                m.d.sync += [limits.eq(limits_r.data), was.eq(balance_r.data)]
                with m.If(refill):
                    m.d.sync += [
                        sums.commands.eq(balance_r.data.commands + limits_r.data.commands),
                        sums.blocks.eq(balance_r.data.blocks + limits_r.data.blocks)]
                with m.Else():
                    m.d.sync += [
                        sums.commands.eq(balance_r.data.commands - (1 << FRACTION)),
                        sums.blocks.eq(balance_r.data.blocks - (blocks << FRACTION))]
                m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += [balance_w.en.eq(1), debts_w.en.eq(1)]
                debts = []
                for name, burst in (("commands", limits.commands_burst),
                                    ("blocks", limits.blocks_burst)):
                    free_of_it, least = Signal(name=f"{name}_free"), Signal(name=f"{name}_full")
                    m.d.comb += [
                        free_of_it.eq(limits[name] == 0),
                        least.eq((sums[name] >> FRACTION) >= burst),
                        balance_w.data[name].eq(Mux(free_of_it, 0, Mux(
                            least, burst << FRACTION, sums[name]))),
                    ]
                    debts.append(~free_of_it & sums[name][-1])
                m.d.comb += [debt.eq(Cat(debts).any()),
                             free.i.valid.eq(refill & ~debt & owed)]
                m.d.sync += debtors.eq(debtors + debt - owed)
                m.next = "IDLE"

        return m
