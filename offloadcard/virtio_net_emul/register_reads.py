"""Reads of a guest's registers: gathered from the rows of its function and of one queue."""

# Ref: virtio-1.2, 4.1.4.3 (Common configuration structure layout), 5.1.4 (Device configuration)

from amaranth import *

from .profile import CONTROL, TRANSMIT, WAYS, mac_of, mtu_of
from .register_writes import queue_of
from .spec import (
    DEVICE_CFG_OFFSET,
    FEATURES,
    FEATURES_PF,
    ISR_CFG_OFFSET,
    VIRTIO_MSI_NO_VECTOR,
)

__all__ = ["answer_reads"]


def answer_reads(m, registers):
    """One read at a time: function rows, queue rows, the words, the answer."""
    g, tables = registers.geometry, registers.tables
    request, reply = registers.mmio.requests, registers.mmio.replies
    asked  = Signal()
    fid    = Signal(g.id_width)
    offset = Signal(16)
    step   = Signal(3)
    m.d.comb += asked.eq(request.valid & ~request.p.write)
    with m.If(asked):
        m.d.sync += [fid.eq(request.p.function_id), offset.eq(request.p.offset), step.eq(1)]
    with m.Elif(step == 5):
        m.d.sync += step.eq(0)
    with m.Elif(step != 0):
        m.d.sync += step.eq(step + 1)

    row = g.row_of(fid)
    for name in ("device_feature_select", "driver_feature_select", "driver_feature",
                 "config_msix_vector", "queue_select", "life", "choices"):
        m.d.comb += tables[name].addresses[1].eq(row)
    m.d.comb += [registers.profile_functions[1].eq(row), registers.isr_function.eq(row)]
    queue = Signal(16)
    m.d.comb += queue.eq(tables["queue_select"].rows[1])
    exists, way, pair = queue_of(m, g, queue, tables["choices"].rows[1], name="read")
    place = Cat(pair, row)
    chosen = {}
    for name in ("desc", "driver", "device", "size", "vector", "enable", "reset"):
        rows = []
        for number in range(WAYS):
            table = tables[f"{name}_{number}"]
            m.d.comb += table.addresses[1].eq(row if number == CONTROL else place)
            rows.append(table.rows[1])
        chosen[name] = Signal(64, name=f"chosen_{name}")
        m.d.comb += chosen[name].eq(
            Mux(way == CONTROL, rows[CONTROL], Mux(way == TRANSMIT, rows[1], rows[0])))
    profile = registers.profiles[1]
    offered = Signal(64)
    life    = tables["life"].rows[1]
    select  = tables["device_feature_select"].rows[1]
    wanted  = tables["driver_feature_select"].rows[1]
    feature = tables["driver_feature"].rows[1]
    m.d.comb += offered.eq(Mux(fid == 0, FEATURES_PF, FEATURES) & ~profile.refused)

    def window(value, half):
        return Mux(half == 0, value[:32], Mux(half == 1, value[32:], 0))

    words = {
        0x00: Cat(select, window(offered, select)),
        0x08: Cat(wanted, window(feature, wanted)),
        0x10: Cat((tables["config_msix_vector"].rows[1] ^ VIRTIO_MSI_NO_VECTOR)[:16],
                  Const(2 * g.pairs + 1, 16), life.status, registers.config_generation, queue),
        0x18: Mux(exists, Cat((chosen["size"] ^ g.size_max)[:16],
                              (chosen["vector"] ^ VIRTIO_MSI_NO_VECTOR)[:16],
                              chosen["enable"][:16], queue),
                  Const(VIRTIO_MSI_NO_VECTOR << 16, 64)),
        0x20: Mux(exists, chosen["desc"], 0),
        0x28: Mux(exists, chosen["driver"], 0),
        0x30: Mux(exists, chosen["device"], 0),
        0x38: Mux(exists, Cat(Const(0, 16), chosen["reset"][:16]), 0),
        ISR_CFG_OFFSET: registers.isr,
        DEVICE_CFG_OFFSET: Cat(mac_of(profile, fid), ~profile.link_down, Const(0, 15)),
        DEVICE_CFG_OFFSET + 8: Cat(Const(g.pairs, 16), mtu_of(profile), Const(0, 32)),
    }
    m.d.comb += registers.isr_read.eq((step == 1) & (offset == ISR_CFG_OFFSET)
                                 & (fid < g.functions))
    value = Signal(64)
    with m.Switch(offset):
        for address, word in words.items():
            with m.Case(address):
                m.d.sync += value.eq(word)
        with m.Default():
            m.d.sync += value.eq(0)
    m.d.comb += [reply.valid.eq(step == 5), reply.p.data.eq(Mux(fid < g.functions, value, 0))]
