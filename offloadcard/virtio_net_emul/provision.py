"""What the provider gives each function, and what it counts: behind the management port."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..rtl.buffer import Queue
from ..rtl.ports import ManagementPort
from ..rtl.regbank import RegisterBank
from .profile import EVENT_CHANGE, life_event, mac_of, mtu_of, profile_row
from .spec import FEATURES_PF, MANAGEMENT, MTU_DEFAULT, Command
from .table import Table

__all__ = ["Provision", "Counter"]


class Counter(wiring.Component):
    """Two sums for every function, in memory.

    Timing
    ------
    One event per cycle; a sum shows it after 2 cycles.

    Parameters
    ----------
    rows : int
        Number of functions.
    width : int
        Width of what an event adds to the second sum.

    Members
    -------
    valid, row, amount : ``In``
        One event: the first sum grows by 1, the second by ``amount``.
    address : ``In``; sums : ``Out``
        Address, and the sums 1 cycle later.
    """

    def __init__(self, *, rows, width):
        self.rows = rows
        self.sums_shape = data.StructLayout({"events": 48, "amount": 48})
        super().__init__({
            "valid":   In(1),
            "row":     In(range(rows)),
            "amount":  In(width),
            "address": In(range(rows)),
            "sums":    Out(self.sums_shape),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = Table(self.sums_shape, depth=self.rows, readers=2)
        valid  = Signal()
        row    = Signal.like(self.row)
        amount = Signal.like(self.amount)
        m.d.sync += [valid.eq(self.valid), row.eq(self.row), amount.eq(self.amount)]
        m.d.comb += [
            table.addresses[0].eq(self.row), table.addresses[1].eq(self.address),
            self.sums.eq(table.rows[1]),
            table.address.eq(row), table.enable.eq(valid),
            table.row.events.eq(table.rows[0].events + 1),
            table.row.amount.eq(table.rows[0].amount + amount),
        ]
        return m


class Provision(wiring.Component):
    """Keep every function's MAC, MTU, link and features, and its counters.

    Timing
    ------
    A management request is answered after 2 cycles; counters follow FUNCTION by 3.

    Parameters
    ----------
    geometry : Geometry
        Sizes.

    Members
    -------
    management : ``In(ManagementPort())``
        The provider.
    functions : ``In(...).array(4)``; profiles : ``Out(profile_row).array(4)``
        Addresses, and rows 1 cycle later.
    generation_function, generation
        Address and row: changes of the device configuration, modulo 256.
    events : ``Out(stream(life_event))``
        The configuration of a function changed.
    sent, written, failed : ``In``; dropped : ``In(...).array(2)``
        What is counted.
    status_function, status
        Address and row: the device status, for STATUS.
    """

    def __init__(self, geometry):
        self.geometry = g = geometry
        counted = data.StructLayout({"valid": 1, "row": g.row_bits, "octets": 14})
        single  = data.StructLayout({"valid": 1, "row": g.row_bits})
        super().__init__({
            "management": In(ManagementPort()),
            "functions":  In(g.row_bits).array(4),
            "profiles":   Out(profile_row).array(4),
            "generation_function": In(g.row_bits),
            "generation": Out(8),
            "events":     Out(stream.Signature(life_event(g))),
            "sent":       In(counted),
            "written":    In(counted),
            "dropped":    In(single).array(2),
            "failed":     In(single),
            "status_function": Out(g.row_bits),
            "status":     In(8),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        rows = 1 << g.row_bits
        m.submodules.bank     = bank     = RegisterBank(MANAGEMENT)
        m.submodules.profiles = profiles = Table(profile_row, depth=rows, readers=5)
        m.submodules.changes  = changes  = Table(8, depth=rows, readers=2)
        m.submodules.events   = events   = Queue(life_event(g), depth=4)
        wiring.connect(m, wiring.flipped(self.management), bank.management)
        wiring.connect(m, events.o, wiring.flipped(self.events))

        known = Signal()
        row   = Signal(g.row_bits)
        m.d.comb += [known.eq(bank.function < g.functions), row.eq(bank.function)]
        for number in range(4):
            m.d.comb += [profiles.addresses[number].eq(self.functions[number]),
                         self.profiles[number].eq(profiles.rows[number])]
        default = Signal(48)
        empty   = Signal(profile_row)
        m.d.comb += default.eq(mac_of(empty, bank.function))
        stores = Signal()
        m.d.comb += [
            stores.eq(bank.command_write & (bank.command == Command.STORE) & known),
            profiles.address.eq(row), profiles.enable.eq(stores),
            profiles.row.mac.eq(bank.mac ^ default),
            profiles.row.mtu.eq(bank.mtu ^ MTU_DEFAULT),
            profiles.row.link_down.eq(~bank.link),
            profiles.row.refused.eq(~bank.features & FEATURES_PF),
            changes.addresses[0].eq(row), changes.addresses[1].eq(self.generation_function),
            self.generation.eq(changes.rows[1]),
            changes.address.eq(row), changes.row.eq(changes.rows[0] + 1),
            changes.enable.eq(stores),
            events.i.valid.eq(stores),
            events.i.p.kind.eq(EVENT_CHANGE), events.i.p.function_id.eq(bank.function),
            profiles.addresses[4].eq(row),
            bank.mac_now.eq(mac_of(profiles.rows[4], bank.function)),
            bank.mtu_now.eq(mtu_of(profiles.rows[4])),
            bank.link_now.eq(~profiles.rows[4].link_down),
            self.status_function.eq(row), bank.status.eq(self.status),
        ]

        for name in ("tx", "rx", "drops", "errors"):
            counter = Counter(rows=rows, width=14)
            m.submodules[name] = counter
            setattr(self, f"_{name}", counter)
            m.d.comb += counter.address.eq(row)
        for counter, event in ((self._tx, self.sent), (self._rx, self.written)):
            m.d.comb += [counter.valid.eq(event.valid), counter.row.eq(event.row),
                         counter.amount.eq(event.octets)]
        m.d.comb += [self._errors.valid.eq(self.failed.valid),
                     self._errors.row.eq(self.failed.row)]
        # Two sources of drops; the second waits for a cycle of its own.
        m.submodules.late = late = Queue(unsigned(g.row_bits), depth=16)
        first, second = self.dropped
        m.d.comb += [
            late.i.valid.eq(second.valid), late.i.payload.eq(second.row),
            late.o.ready.eq(~first.valid),
            self._drops.valid.eq(first.valid | late.o.valid),
            self._drops.row.eq(Mux(first.valid, first.row, late.o.payload)),
            bank.tx_packets.eq(self._tx.sums.events), bank.tx_octets.eq(self._tx.sums.amount),
            bank.rx_packets.eq(self._rx.sums.events), bank.rx_octets.eq(self._rx.sums.amount),
            bank.rx_drops.eq(self._drops.sums.events), bank.errors.eq(self._errors.sums.events),
        ]

        return m
