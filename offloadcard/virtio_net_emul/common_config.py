"""The registers of every function: common configuration, device status, device configuration."""

# Ref: virtio-1.2, 2.1 (Device Status Field), 4.1.4.3 (Common Configuration Structure Layout),
#      5.1.4 (Device Configuration Layout)

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..rtl.buffer import Queue
from ..rtl.ports import MmioPort
from ..rtl.worklist import WorkList
from .profile import (
    EVENT_CHANGE,
    EVENT_CLEAR,
    EVENT_END,
    EVENT_FAIL,
    EVENT_STOP,
    life_event,
    profile_row,
)
from .register_reads import answer_reads
from .spec import (
    COMMON_CFG,
    FEATURES,
    FEATURES_PF,
    NOTIFY_CFG_OFFSET,
    VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FEATURES_OK,
    VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
    VIRTIO_MSI_NO_VECTOR,
)
from .table import Table

__all__ = ["CommonConfig"]

_NEEDS_RESET = VIRTIO_CONFIG_S_NEEDS_RESET


class CommonConfig(wiring.Component):
    """Answer the guests' registers; own each function's status and each queue's set-up.

    Writes take one cycle each and are never stalled; each register's bytes are written as enabled,
    but sizes, vectors, enables and status, which are taken whole or not at all. Events from inside
    the card take a cycle in which no guest writes.

    Timing
    ------
    A write is done 1 cycle after it came; a read is answered after 5.

    Parameters
    ----------
    geometry : Geometry
        Sizes.
    readers : int
        Read ports of ``alive``.

    Members
    -------
    mmio : ``In(MmioPort(...))``
        The guests.
    doorbells : ``Out(...).array(2)``
        Queues that were notified: receive, transmit.
    starts : ``Out(stream).array(2)``
        Queues to look at since their function came to DRIVER_OK.
    resets : ``Out(stream, always_ready)``
        Functions whose driver wrote 0 to the status.
    events : ``In(stream(life_event))``
        From inside the card.
    interrupts : ``Out(stream)``
        Configuration interrupts.
    isr_function, isr_read, isr : interface to the ISR status
        ``isr_read`` for one cycle, ``isr`` 2 cycles later.
    queues, setups : addresses and rows of both directions
        What the driver set up, 1 cycle later.
    functions, alive : addresses and rows
        Whether a function may go on.
    lives, status
        Status, resetting, stopping of the first reader's function; status of the fifth's.
    failed, failed_row : ``Out``
        A function came to NEEDS_RESET.
    profile_functions, profiles : addresses and rows
        What the provider gave a function.
    config_generation : ``In(8)``
        That of the function of the second profile.
    """

    def __init__(self, geometry, *, readers):
        self.geometry = g = geometry
        self.interrupt = data.StructLayout({"function_id": g.id_width, "vector": 16})
        self.life = data.StructLayout({"status": 8, "resetting": 1, "stopping": 1})
        queue = unsigned(g.queue_bits)
        super().__init__({
            "mmio":       In(MmioPort(function_id_width=g.id_width)),
            "doorbells":  Out(stream.Signature(queue, always_ready=True)).array(2),
            "starts":     Out(stream.Signature(queue)).array(2),
            "resets":     Out(stream.Signature(range(g.functions), always_ready=True)),
            "events":     In(stream.Signature(life_event(g))),
            "interrupts": Out(stream.Signature(self.interrupt)),
            "isr_function": Out(g.row_bits),
            "isr_read":   Out(1),
            "isr":        In(8),
            "queues":     In(queue).array(2),
            "setups":     Out(g.setup).array(2),
            "functions":  In(g.row_bits).array(readers),
            "alive":      Out(1).array(readers),
            "lives":      Out(self.life),
            "status":     Out(8),
            "failed":     Out(1),
            "failed_row": Out(g.row_bits),
            "profile_functions": Out(g.row_bits).array(2),
            "profiles":   In(profile_row).array(2),
            "config_generation": In(8),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        depth = 1 << g.row_bits
        self.tables = tables = {}
        for name, width in (("device_feature_select", 32), ("driver_feature_select", 32),
                            ("driver_feature", 64), ("config_msix_vector", 16),
                            ("queue_select", 16)):
            tables[name] = Table(width, depth=depth, readers=2, granularity=8)
        tables["life"]  = Table(self.life, depth=depth, readers=4)
        tables["alive"] = Table(1, depth=depth, readers=len(self.alive))
        for way in range(2):
            for name in ("desc", "driver", "device"):
                tables[f"{name}_{way}"] = Table(64, depth=g.queues, readers=2, granularity=8)
            for name, width in (("size", 16), ("vector", 16), ("enable", 1)):
                tables[f"{name}_{way}"] = Table(width, depth=g.queues, readers=2)
        for name, table in tables.items():
            m.submodules[name] = table
        for number, (address, alive) in enumerate(zip(self.functions, self.alive)):
            m.d.comb += [tables["alive"].addresses[number].eq(address),
                         alive.eq(tables["alive"].rows[number])]
        m.d.comb += [tables["life"].addresses[2].eq(self.functions[0]),
                     self.lives.eq(tables["life"].rows[2]),
                     tables["life"].addresses[3].eq(self.functions[4]),
                     self.status.eq(tables["life"].rows[3].status)]
        for way in range(2):
            setup = self.setups[way]
            for name in ("desc", "driver", "device", "enable"):
                table = tables[f"{name}_{way}"]
                m.d.comb += [table.addresses[0].eq(self.queues[way]),
                             setup[name].eq(table.rows[0])]
            for name, base in (("size", g.size_max), ("vector", VIRTIO_MSI_NO_VECTOR)):
                table = tables[f"{name}_{way}"]
                m.d.comb += [table.addresses[0].eq(self.queues[way]),
                             setup[name].eq(table.rows[0] ^ base)]
        self._notify(m)
        self._write(m)
        answer_reads(m, self)
        return m

    def _notify(self, m):
        """[virtio-1.2: 4.1.4.4] the address alone tells the queue."""
        g = self.geometry
        request = self.mmio.requests.p
        here = Signal()
        pair = request.offset[3:12]
        m.d.comb += here.eq(self.mmio.requests.valid & request.write & (pair < g.pairs)
                            & (request.offset[12:] == NOTIFY_CFG_OFFSET >> 12)
                            & (request.function_id < g.functions))
        for way in range(2):
            m.d.sync += [
                self.doorbells[way].valid.eq(here & request.byte_enable[4 * way]),
                self.doorbells[way].payload.eq(
                    Cat(pair[:g.pair_bits], g.row_of(request.function_id)))]

    def _write(self, m):
        """Two stages: read the function's rows, then write what the request or event changes."""
        g, tables = self.geometry, self.tables
        request, events = self.mmio.requests, self.events
        m.submodules.interrupts = interrupts = Queue(self.interrupt, depth=8)
        wiring.connect(m, interrupts.o, wiring.flipped(self.interrupts))

        mmio  = Signal()
        event = Signal()
        fid   = Signal(g.id_width)
        m.d.comb += [
            mmio.eq(request.valid & request.p.write & (request.p.offset[6:] == 0)
                    & (request.p.function_id < g.functions)),
            events.ready.eq(~mmio & (interrupts.level < 6)),
            event.eq(events.valid & events.ready),
            fid.eq(Mux(mmio, request.p.function_id, events.p.function_id)),
        ]
        for name in ("device_feature_select", "driver_feature_select", "driver_feature",
                     "config_msix_vector", "queue_select", "life"):
            m.d.comb += tables[name].addresses[0].eq(g.row_of(fid))
        m.d.comb += self.profile_functions[0].eq(g.row_of(fid))

        mmio_r  = Signal()
        event_r = Signal()
        kind_r  = Signal(3)
        pair_r  = Signal.like(events.p.pair)
        fid_r   = Signal(g.id_width)
        word    = Signal(3)
        lanes   = Signal(8)
        octets  = Signal(64)
        m.d.sync += [
            mmio_r.eq(mmio), event_r.eq(event), kind_r.eq(events.p.kind),
            pair_r.eq(events.p.pair), fid_r.eq(fid), word.eq(request.p.offset[3:6]),
            lanes.eq(Mux(mmio, request.p.byte_enable, 0)), octets.eq(request.p.data)]
        ends   = Signal()
        clears = Signal()
        m.d.comb += [ends.eq(event_r & (kind_r == EVENT_END)),
                     clears.eq(event_r & (kind_r == EVENT_CLEAR))]
        row_address = g.row_of(fid_r)

        def field(name):
            register = COMMON_CFG[name]
            low = register.offset % 8
            return (mmio_r & (word == register.offset // 8), lanes[low:low + register.octets],
                    octets[8 * low:8 * (low + register.octets)])

        def plain(name, table, *, only=1, invert=0):
            here, enable, value = field(name)
            return [table.address.eq(row_address),
                    table.row.eq(Mux(ends, 0, value ^ invert)),
                    table.enable.eq(Mux(ends, ~0, Mux(here & only, enable, 0)))]

        m.d.comb += plain("device_feature_select", tables["device_feature_select"])
        m.d.comb += plain("driver_feature_select", tables["driver_feature_select"])
        m.d.comb += plain("queue_select", tables["queue_select"])
        life = Signal(self.life)
        m.d.comb += life.eq(tables["life"].rows[0])

        # [virtio-1.2: 4.1.4.3] driver_feature: the half that driver_feature_select names.
        here, enable, value = field("driver_feature")
        select, s_enable, s_value = (tables["driver_feature_select"].rows[0],
                                     *field("driver_feature_select")[1:])
        half = Signal(32)
        m.d.comb += half.eq(Cat(*(Mux(s_enable[n], s_value[8 * n:8 * n + 8],
                                      select[8 * n:8 * n + 8]) for n in range(4))))
        table = tables["driver_feature"]
        open_ = Signal()
        m.d.comb += open_.eq((life.status & VIRTIO_CONFIG_S_FEATURES_OK) == 0)
        m.d.comb += [
            table.address.eq(row_address), table.row.eq(Mux(ends, 0, Cat(value, value))),
            table.enable.eq(Mux(ends, ~0, Mux(here & open_ & (half < 2),
                                              Mux(half[0], enable << 4, enable), 0))),
        ]

        # [virtio-1.2: 4.1.5.1.2.1] a vector that is not there is refused: it reads NO_VECTOR.
        def vector_of(value):
            return Mux(value < 2 * g.pairs + 1, value, VIRTIO_MSI_NO_VECTOR)

        here, enable, value = field("config_msix_vector")
        table = tables["config_msix_vector"]
        m.d.comb += [
            table.address.eq(row_address),
            table.row.eq(Mux(ends, 0, vector_of(value) ^ VIRTIO_MSI_NO_VECTOR)),
            table.enable.eq(Mux(ends, 3, Mux(here & enable.all(), 3, 0))),
        ]

        # The queue that queue_select names, in the same write or before.
        here, enable, value = field("queue_select")
        queue = Signal(16)
        m.d.comb += queue.eq(tables["queue_select"].rows[0])
        exists = Signal()
        m.d.comb += exists.eq(queue < 2 * g.pairs)
        place = Signal(g.queue_bits)
        m.d.comb += place.eq(Cat(Mux(clears, pair_r, queue[1:])[:g.pair_bits], row_address))
        for way in range(2):
            mine = Signal(name=f"mine_{way}")
            m.d.comb += mine.eq(exists & (queue[0] == way))
            for name, register in (("desc", "queue_desc"), ("driver", "queue_driver"),
                                   ("device", "queue_device")):
                here, enable, value = field(register)
                table = tables[f"{name}_{way}"]
                m.d.comb += [
                    table.address.eq(place), table.row.eq(Mux(clears, 0, value)),
                    table.enable.eq(Mux(clears, ~0, Mux(here & mine, enable, 0)))]
            here, enable, value = field("queue_size")
            table = tables[f"size_{way}"]
            good = Signal(name=f"good_{way}")
            m.d.comb += good.eq((value != 0) & ((value & (value - 1)) == 0)
                                & (value <= g.size_max) & enable.all())
            m.d.comb += [
                table.address.eq(place), table.row.eq(Mux(clears, 0, value ^ g.size_max)),
                table.enable.eq(clears | here & mine & good)]
            here, enable, value = field("queue_msix_vector")
            table = tables[f"vector_{way}"]
            m.d.comb += [
                table.address.eq(place),
                table.row.eq(Mux(clears, 0, vector_of(value) ^ VIRTIO_MSI_NO_VECTOR)),
                table.enable.eq(clears | here & mine & enable.all())]
            here, enable, value = field("queue_enable")
            table = tables[f"enable_{way}"]
            m.d.comb += [
                table.address.eq(place), table.row.eq(~clears),
                table.enable.eq(clears | here & mine & enable[0] & value[0])]

        # [virtio-1.2: 2.1] the status: bits are set one by one and fall with a reset only.
        here, enable, value = field("device_status")
        new     = Signal(self.life)
        writes  = Signal()
        zero    = Signal()
        started = Signal()
        wanted  = Signal(64)
        offered = Signal(64)
        fits    = Signal()
        m.d.comb += [
            wanted.eq(tables["driver_feature"].rows[0]),
            offered.eq(Mux(fid_r == 0, FEATURES_PF, FEATURES) & ~self.profiles[0].refused),
            fits.eq(((wanted & ~offered) == 0) & wanted[VIRTIO_F_VERSION_1]),
            writes.eq(here & enable[0]),
            zero.eq(writes & (value == 0)),
            new.eq(life),
        ]
        ok   = VIRTIO_CONFIG_S_FEATURES_OK
        go   = VIRTIO_CONFIG_S_DRIVER_OK
        kept = Signal(8)
        m.d.comb += kept.eq((value & ~_NEEDS_RESET & ~Mux(fits | ~open_, 0, ok)) | life.status)
        with m.If(zero):
            m.d.comb += new.resetting.eq(life.status != 0)
        with m.Elif(writes & ~life.resetting):
            m.d.comb += new.status.eq(Mux((kept & ok) != 0, kept, kept & ~go))
        with m.If(event_r):
            with m.Switch(kind_r):
                with m.Case(EVENT_FAIL):
                    with m.If((life.status & go) != 0):
                        m.d.comb += new.status.eq(life.status | _NEEDS_RESET)
                with m.Case(EVENT_STOP):
                    m.d.comb += new.stopping.eq(1)
                with m.Case(EVENT_END):
                    m.d.comb += new.eq(0)
        alive = Signal()
        m.d.comb += [
            alive.eq(((new.status & go) != 0) & ((new.status & _NEEDS_RESET) == 0)
                     & ~new.resetting & ~new.stopping),
            tables["life"].address.eq(row_address), tables["life"].row.eq(new),
            tables["life"].enable.eq(mmio_r | event_r),
            tables["alive"].address.eq(row_address), tables["alive"].row.eq(alive),
            tables["alive"].enable.eq(mmio_r | event_r),
            started.eq(writes & ((life.status & go) == 0) & ((new.status & go) != 0)),
            self.resets.valid.eq(zero & (life.status != 0) & ~life.resetting),
            self.resets.payload.eq(row_address),
        ]
        m.d.comb += [
            self.failed.eq(event_r & (kind_r == EVENT_FAIL) & ((life.status & go) != 0)
                           & ((life.status & _NEEDS_RESET) == 0)),
            self.failed_row.eq(row_address)]
        # [virtio-1.2: 2.1.2] the driver is told of NEEDS_RESET, and of a change of the link.
        tells = Signal()
        m.d.comb += [
            tells.eq(event_r & ((life.status & go) != 0) & ~life.resetting & ~life.stopping
                     & ((kind_r == EVENT_CHANGE) | (kind_r == EVENT_FAIL)
                        & ((life.status & _NEEDS_RESET) == 0))),
            interrupts.i.valid.eq(tells),
            interrupts.i.p.function_id.eq(fid_r),
            interrupts.i.p.vector.eq(
                tables["config_msix_vector"].rows[0] ^ VIRTIO_MSI_NO_VECTOR),
        ]

        # [virtio-1.2: 3.1.1] at DRIVER_OK all queues are looked at once.
        m.submodules.started = waiting = WorkList(count=depth_of(g))
        m.d.comb += [waiting.i.valid.eq(started), waiting.i.payload.eq(row_address)]
        pair = Signal(range(max(g.pairs, 2)))
        way  = Signal()
        last = Signal()
        m.d.comb += last.eq((pair == g.pairs - 1) & way)
        for number, start in enumerate(self.starts):
            m.d.comb += [start.valid.eq(waiting.o.valid & (way == number)),
                         start.payload.eq(Cat(pair[:g.pair_bits], waiting.o.payload))]
        taken = Signal()
        m.d.comb += [
            taken.eq(Mux(way, self.starts[1].valid & self.starts[1].ready,
                         self.starts[0].valid & self.starts[0].ready)),
            waiting.o.ready.eq(taken & last)]
        with m.If(taken):
            m.d.sync += way.eq(~way)
            with m.If(way):
                m.d.sync += pair.eq(Mux(last, 0, pair + 1))


def depth_of(geometry):
    """Rows of a table indexed by function."""
    return 1 << max(1, ceil_log2(geometry.functions))
