"""Writes of a guest's registers, and what changes them from inside the card."""

# Ref: virtio-1.2, 4.1.4.3 (Common configuration structure layout)

from amaranth import *

from .device_status import follow_status
from .profile import CONTROL, EVENT_CLEAR, EVENT_END, EVENT_QUEUE, TRANSMIT, WAYS
from .spec import COMMON_CFG, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_MSI_NO_VECTOR

__all__ = ["take_writes", "queue_of"]


def queue_of(m, geometry, number, chosen, *, name):
    """Which queue of a function a queue's ``number`` names: whether it is there, its way, pair.

    [virtio-1.2: 5.1.2] the control queue stands behind the pairs that the driver can use, and
    that is one pair without MQ.
    """
    g = geometry
    exists, control = Signal(name=f"{name}_exists"), Signal(name=f"{name}_control")
    way, pair = Signal(range(WAYS), name=f"{name}_way"), Signal(g.pair_bits, name=f"{name}_pair")
    behind = Signal(16, name=f"{name}_behind")
    m.d.comb += [
        behind.eq(Mux(chosen.mq, 2 * g.pairs, 2)),
        control.eq((number == behind) & chosen.ctrl_vq),
        exists.eq((number < behind) | control),
        way.eq(Mux(control, CONTROL, number[0])),
        pair.eq(Mux(control, 0, number[1:])),
    ]
    return exists, way, pair


class _Stage:
    """What is written in this cycle: a guest's octets, or an event."""

    def __init__(self, m, registers):
        g = registers.geometry
        request, events = registers.mmio.requests, registers.events
        mmio, event, fid = Signal(), Signal(), Signal(g.id_width)
        m.d.comb += [
            mmio.eq(request.valid & request.p.write & (request.p.offset[6:] == 0)
                    & (request.p.function_id < g.functions)),
            events.ready.eq(~mmio & registers.tells_room),
            event.eq(events.valid & events.ready),
            fid.eq(Mux(mmio, request.p.function_id, events.p.function_id)),
        ]
        self.address = g.row_of(fid)
        self.mmio, self.event, self.fid = Signal(), Signal(), Signal(g.id_width)
        self.what = Signal.like(events.payload)
        self.word, self.lanes, self.octets = Signal(3), Signal(8), Signal(64)
        m.d.sync += [
            self.mmio.eq(mmio), self.event.eq(event), self.fid.eq(fid),
            self.what.eq(events.payload), self.word.eq(request.p.offset[3:6]),
            self.lanes.eq(Mux(mmio, request.p.byte_enable, 0)), self.octets.eq(request.p.data)]
        self.row = g.row_of(self.fid)
        self.ends, self.clears, self.one = (Signal(name=name) for name in (
            "ends", "clears", "one"))
        m.d.comb += [
            self.ends.eq(self.event & (self.what.kind == EVENT_END)),
            self.clears.eq(self.event & (self.what.kind == EVENT_CLEAR)),
            self.one.eq(self.event & (self.what.kind == EVENT_QUEUE)),
        ]

    def field(self, name):
        """Is this register written, which of its octets, and what."""
        register = COMMON_CFG[name]
        low = register.offset % 8
        return (self.mmio & (self.word == register.offset // 8),
                self.lanes[low:low + register.octets],
                self.octets[8 * low:8 * (low + register.octets)])


def take_writes(m, registers):
    """Two stages: read the function's rows, then write what the request or event changes."""
    g, tables = registers.geometry, registers.tables
    stage = _Stage(m, registers)
    for name in ("device_feature_select", "driver_feature_select", "driver_feature",
                 "config_msix_vector", "queue_select", "life", "choices"):
        m.d.comb += tables[name].addresses[0].eq(stage.address)
    m.d.comb += registers.profile_functions[0].eq(stage.address)
    for name in ("device_feature_select", "driver_feature_select", "queue_select"):
        here, enable, value = stage.field(name)
        m.d.comb += [tables[name].address.eq(stage.row),
                     tables[name].row.eq(Mux(stage.ends, 0, value)),
                     tables[name].enable.eq(Mux(stage.ends, ~0, Mux(here, enable, 0)))]

    # [virtio-1.2: 4.1.4.3] driver_feature: the half that driver_feature_select names.
    here, enable, value = stage.field("driver_feature")
    select, s_enable, s_value = (tables["driver_feature_select"].rows[0],
                                 *stage.field("driver_feature_select")[1:])
    half = Signal(32)
    m.d.comb += half.eq(Cat(*(Mux(s_enable[n], s_value[8 * n:8 * n + 8],
                                  select[8 * n:8 * n + 8]) for n in range(4))))
    table = tables["driver_feature"]
    open_ = Signal()
    m.d.comb += [
        open_.eq((tables["life"].rows[0].status & VIRTIO_CONFIG_S_FEATURES_OK) == 0),
        table.address.eq(stage.row), table.row.eq(Mux(stage.ends, 0, Cat(value, value))),
        table.enable.eq(Mux(stage.ends, ~0, Mux(here & open_ & (half < 2),
                                                Mux(half[0], enable << 4, enable), 0))),
    ]

    here, enable, value = stage.field("config_msix_vector")
    table = tables["config_msix_vector"]
    m.d.comb += [
        table.address.eq(stage.row),
        table.row.eq(Mux(stage.ends, 0, _vector_of(g, value) ^ VIRTIO_MSI_NO_VECTOR)),
        table.enable.eq(Mux(stage.ends, 3, Mux(here & enable.all(), 3, 0))),
    ]
    _queues(m, registers, stage)
    follow_status(m, registers, stage, open_)


def _vector_of(geometry, value):
    """[virtio-1.2: 4.1.5.1.2.1] a vector that is not there is refused: it reads NO_VECTOR."""
    return Mux(value < 2 * geometry.pairs + 1, value, VIRTIO_MSI_NO_VECTOR)


def _queues(m, registers, stage):
    """The queue that queue_select names; or one that ends, or the pair of a function that does."""
    g, tables = registers.geometry, registers.tables
    number = Signal(16)
    m.d.comb += number.eq(tables["queue_select"].rows[0])
    chosen = tables["choices"].rows[0]
    exists, its_way, pair = queue_of(m, g, number, chosen, name="written")
    place = Signal(g.queue_bits)
    m.d.comb += place.eq(Cat(Mux(stage.clears | stage.one, stage.what.pair, pair)[:g.pair_bits],
                             stage.row))
    resets = Signal(WAYS)
    for way in range(WAYS):
        mine, clears = Signal(name=f"mine_{way}"), Signal(name=f"clears_{way}")
        m.d.comb += [
            mine.eq(exists & (its_way == way)),
            clears.eq(stage.clears & (way <= TRANSMIT) | stage.ends & (way == CONTROL)
                      | stage.one & (stage.what.way == way)),
        ]
        where = place if way != CONTROL else stage.row

        def put(name, row, enable, way=way, where=where):
            table = tables[f"{name}_{way}"]
            m.d.comb += [table.address.eq(where), table.row.eq(row), table.enable.eq(enable)]

        for name, register in (("desc", "queue_desc"), ("driver", "queue_driver"),
                               ("device", "queue_device")):
            here, enable, value = stage.field(register)
            put(name, Mux(clears, 0, value), Mux(clears, ~0, Mux(here & mine, enable, 0)))
        here, enable, value = stage.field("queue_size")
        good = Signal(name=f"good_{way}")
        m.d.comb += good.eq((value != 0) & ((value & (value - 1)) == 0)
                            & (value <= g.size_max) & enable.all())
        put("size", Mux(clears, 0, value ^ g.size_max), clears | here & mine & good)
        here, enable, value = stage.field("queue_msix_vector")
        put("vector", Mux(clears, 0, _vector_of(g, value) ^ VIRTIO_MSI_NO_VECTOR),
            clears | here & mine & enable.all())

        # [virtio-1.2: 2.6.1, 4.1.4.3.2] a queue that is reset takes nothing more from now on.
        here, enable, value = stage.field("queue_reset")
        m.d.comb += resets[way].eq(here & mine & enable[0] & value[0] & chosen.ring_reset)
        put("reset", ~clears, clears | resets[way])
        here, enable, value = stage.field("queue_enable")
        put("enable", ~clears & ~resets[way],
            clears | resets[way] | here & mine & enable[0] & value[0])
    m.d.comb += [
        registers.queue_resets.valid.eq(resets.any()),
        registers.queue_resets.p.way.eq(its_way), registers.queue_resets.p.queue.eq(place),
    ]
