"""The device status of every function: what its driver writes, and what befalls it."""

# Ref: virtio-1.2, 2.1 (Device Status Field), 3.1.1 (Driver Requirements: Device Initialization)

from amaranth import *
from amaranth.lib import wiring
from amaranth.utils import ceil_log2

from ..rtl.worklist import WorkList
from .profile import (
    CHOICES,
    CONTROL,
    EVENT_CHANGE,
    EVENT_END,
    EVENT_FAIL,
    EVENT_STOP,
)
from .spec import (
    FEATURES,
    FEATURES_PF,
    VIRTIO_CONFIG_S_DRIVER_OK,
    VIRTIO_CONFIG_S_FEATURES_OK,
    VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
    VIRTIO_MSI_NO_VECTOR,
)

__all__ = ["follow_status"]

_NEEDS_RESET = VIRTIO_CONFIG_S_NEEDS_RESET


def follow_status(m, registers, stage, open_):
    """[virtio-1.2: 2.1] bits are set one by one and fall with a reset only."""
    tables = registers.tables
    interrupts = registers.tells
    wiring.connect(m, interrupts.o, wiring.flipped(registers.interrupts))
    life = Signal(registers.life)
    m.d.comb += life.eq(tables["life"].rows[0])
    here, enable, value = stage.field("device_status")
    new     = Signal(registers.life)
    writes  = Signal()
    zero    = Signal()
    started = Signal()
    wanted  = Signal(64)
    offered = Signal(64)
    fits    = Signal()
    m.d.comb += [
        wanted.eq(tables["driver_feature"].rows[0]),
        offered.eq(Mux(stage.fid == 0, FEATURES_PF, FEATURES)
                   & ~registers.profiles[0].refused),
        fits.eq(((wanted & ~offered) == 0) & wanted[VIRTIO_F_VERSION_1]),
        writes.eq(here & enable[0]),
        zero.eq(writes & (value == 0)),
        new.eq(life),
    ]
    ok   = VIRTIO_CONFIG_S_FEATURES_OK
    go   = VIRTIO_CONFIG_S_DRIVER_OK
    kept = Signal(8)
    kind = stage.what.kind
    m.d.comb += kept.eq((value & ~_NEEDS_RESET & ~Mux(fits | ~open_, 0, ok)) | life.status)
    with m.If(zero):
        m.d.comb += new.resetting.eq(life.status != 0)
    with m.Elif(writes & ~life.resetting):
        m.d.comb += new.status.eq(Mux((kept & ok) != 0, kept, kept & ~go))
    with m.If(stage.event):
        with m.Switch(kind):
            with m.Case(EVENT_FAIL):
                with m.If((life.status & go) != 0):
                    m.d.comb += new.status.eq(life.status | _NEEDS_RESET)
            with m.Case(EVENT_STOP):
                m.d.comb += new.stopping.eq(1)
            with m.Case(EVENT_END):
                m.d.comb += new.eq(0)
    alive  = Signal()
    either = Signal()
    m.d.comb += [
        either.eq(stage.mmio | stage.event),
        alive.eq(((new.status & go) != 0) & ((new.status & _NEEDS_RESET) == 0)
                 & ~new.resetting & ~new.stopping),
        tables["life"].address.eq(stage.row), tables["life"].row.eq(new),
        tables["life"].enable.eq(either),
        tables["alive"].address.eq(stage.row), tables["alive"].row.eq(alive),
        tables["alive"].enable.eq(either),
        # What was chosen counts from FEATURES_OK on; it does not change any more then.
        tables["choices"].address.eq(stage.row), tables["choices"].enable.eq(either),
        *(tables["choices"].row[name].eq(wanted[bit] & ((new.status & ok) != 0))
          for name, bit in CHOICES.items()),
        started.eq(writes & ((life.status & go) == 0) & ((new.status & go) != 0)),
        registers.resets.valid.eq(zero & (life.status != 0) & ~life.resetting),
        registers.resets.payload.eq(stage.row),
        registers.failed.eq(stage.event & (kind == EVENT_FAIL) & ((life.status & go) != 0)
                            & ((life.status & _NEEDS_RESET) == 0)),
        registers.failed_row.eq(stage.row),
    ]
    # [virtio-1.2: 2.1.2] the driver is told of NEEDS_RESET, and of a change of the link.
    tells = Signal()
    m.d.comb += [
        tells.eq(stage.event & ((life.status & go) != 0) & ~life.resetting & ~life.stopping
                 & ((kind == EVENT_CHANGE) | (kind == EVENT_FAIL)
                    & ((life.status & _NEEDS_RESET) == 0))),
        interrupts.i.valid.eq(tells),
        interrupts.i.p.function_id.eq(stage.fid),
        interrupts.i.p.vector.eq(
            tables["config_msix_vector"].rows[0] ^ VIRTIO_MSI_NO_VECTOR),
    ]
    _begin(m, registers, started, stage.row)


def _begin(m, registers, started, row):
    """[virtio-1.2: 3.1.1] at DRIVER_OK all queues are looked at once: pairs, then control."""
    g = registers.geometry
    m.submodules.started = waiting = WorkList(count=1 << max(1, ceil_log2(g.functions)))
    m.d.comb += [waiting.i.valid.eq(started), waiting.i.payload.eq(row)]
    pair  = Signal(range(max(g.pairs, 2)))
    way   = Signal(2)
    taken = Signal()
    for number, start in enumerate(registers.starts):
        at = Const(0, g.pair_bits) if number == CONTROL else pair[:g.pair_bits]
        m.d.comb += [start.valid.eq(waiting.o.valid & (way == number)),
                     start.payload.eq(Cat(at, waiting.o.payload))]
        with m.If(start.valid & start.ready):
            m.d.comb += taken.eq(1)
    m.d.comb += waiting.o.ready.eq(taken & (way == CONTROL))
    with m.If(taken):
        m.d.sync += way.eq(way + 1)
        with m.If(way == CONTROL):
            m.d.sync += way.eq(0)
        with m.If(way == 1):
            m.d.sync += pair.eq(pair + 1)
            with m.If(pair != g.pairs - 1):
                m.d.sync += way.eq(0)
            with m.Else():
                m.d.sync += pair.eq(0)
