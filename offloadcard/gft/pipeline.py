"""The house assembled: two lanes, one header pipeline, the crossing, the slow path's doors."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..rtl.arbiter import Merge
from ..rtl.buffer import Buffer, Skid
from ..rtl.ports import ManagementPort, PacketStream
from ..rtl.steer import Demux
from .egress import Egress, leaving_beat
from .exception import ExceptionQueue, Inject
from .headers import Headers
from .ingress import Ingress
from .packet_buffer import PacketBuffer
from .records import CELL_OCTETS, EXIT_GUESTS, EXIT_SLOW, EXIT_WIRE, entering_beat
from .registers import Registers

__all__ = ["Pipeline"]

GUESTS, WIRE = range(2)
SLOT_BITS = 4  # log2 of the order slots of each function


class Pipeline(wiring.Component):
    """Switch packets between guests and wire by the flow table.

    Two lanes, by where a packet entered, each with a packet buffer; one header pipeline for both.
    A packet leaves to the destination that its flow's entry names, or to the slow path, or is
    dropped and counted by its reason. Packets of a flow keep their order, also around the first
    one (:class:`~.order.Order`). No lane waits for the slow path or for a guest; the guests' lane
    waits for the wire, the wire's lane drops what finds no room.

    Timing
    ------
    A hit leaves 32 cycles after its first beat came (60 octets; stored whole before); one
    beat per cycle in each lane. Measured by ``tests/gft/test_pipeline_speed.py``.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    from_guests, from_wire : ``In(PacketStream(...))``
        Entries. ``meta.function_id`` of what a guest sends is its own.
    to_guests, to_wire : ``Out(PacketStream(...))``
        Exits. To guests, ``meta.function_id`` is the receiver.
    exceptions, inject : ``Out(PacketStream(...))``, ``In(PacketStream(...))``
        To and from the slow path; 64 octets of descriptor before each frame.
    management : ``In(ManagementPort())``
        Registers of ``spec.MANAGEMENT``.
    busy : ``Out(1)``
        A packet was in a buffer 2 cycles ago.
    """

    def __init__(self, config):
        self.config = config
        self.cells  = max(config.gft_packet_buffer_octets // 2 // CELL_OCTETS, 8)
        packets = PacketStream(data_width=config.data_width,
                               function_id_width=config.function_id_width)
        super().__init__({
            "from_guests": In(packets),
            "from_wire":   In(packets),
            "to_guests":   Out(packets),
            "to_wire":     Out(packets),
            "exceptions":  Out(packets),
            "inject":      In(packets),
            "management":  In(ManagementPort()),
            "busy":        Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        widths = {"data_width": config.data_width, "function_id_width": config.function_id_width}
        lanes  = config.data_width // 8
        room    = config.gft_exception_octets // lanes
        slots   = min(16, 1 + max(10, config.function_id_width + SLOT_BITS))
        headers = Headers(config, cell_width=(self.cells - 1).bit_length(),
                          slot_width=slots, room=room,
                          credits=64 if config.data_width == 512 else 32)
        m.submodules.headers   = headers
        m.submodules.registers = registers = Registers(config, headers)
        for name in Registers.NAMES:
            ours, theirs = getattr(registers, name), getattr(headers, name)
            member = registers.signature.members[name]
            if member.is_signature:
                wiring.connect(m, ours, theirs)
            elif member.flow is Out:
                m.d.comb += Value.cast(theirs).eq(Value.cast(ours))
            else:
                m.d.comb += Value.cast(ours).eq(Value.cast(theirs))
        wiring.connect(m, wiring.flipped(self.management), registers.management)

        m.submodules.inject = inject = Inject(**widths)
        m.submodules.inject_border = border = Buffer(self.inject.payload.shape())
        wiring.connect(m, wiring.flipped(self.inject), border.i)
        wiring.connect(m, border.o, inject.i)

        exits = [Merge(leaving_beat(**widths), count=2) for _ in range(3)]
        for name, merge in zip(("exit_wire", "exit_guests", "exit_slow"), exits):
            m.submodules[name] = merge
        enables = (registers.guest_enable, registers.wire_enable)
        used = Signal(2)
        m.d.sync += self.busy.eq(used.any())
        for lane, entry in ((GUESTS, self.from_guests), (WIRE, self.from_wire)):
            self._lane(m, lane, entry, enables[lane], headers=headers, registers=registers,
                       inject=inject.o[lane], exits=exits, used=used[lane])

        m.submodules.slow = slow = ExceptionQueue(depth=room, **widths)
        wiring.connect(m, exits[EXIT_SLOW].o, slow.i)
        m.d.comb += headers.left.eq(slow.left)
        self._leave(m, "exceptions", slow.o, self.exceptions)
        self._leave(m, "to_wire", exits[EXIT_WIRE].o, self.to_wire)
        self._leave(m, "to_guests", exits[EXIT_GUESTS].o, self.to_guests)

        return m

    def _lane(self, m, lane, entry, enable, *, headers, registers, inject, exits,
              used):
        """Entry, buffer and egress of one lane."""
        config, name = self.config, ("guests", "wire")[lane]
        shape = entering_beat(data_width=config.data_width)
        leaving = leaving_beat(data_width=config.data_width,
                               function_id_width=config.function_id_width)
        parts = {
            "border":  Skid(entry.payload.shape()),
            "merge":   Merge(shape, count=2),
            "entry":   Buffer(shape),
            "ingress": Ingress(data_width=config.data_width, cells=self.cells,
                               max_octets=config.max_frame_octets, tail_drop=lane == WIRE),
            "buffer":  PacketBuffer(data_width=config.data_width, cells=self.cells),
            "fetched": Skid(config.data_width),
            "egress":  Egress(data_width=config.data_width,
                              function_id_width=config.function_id_width),
            "leave":   Skid(leaving),
            "steer":   Demux(leaving, count=3),
        }
        for part, component in parts.items():
            m.submodules[f"{name}_{part}"] = component
        border, merge, ingress = parts["border"], parts["merge"], parts["ingress"]
        buffer, egress, steer = parts["buffer"], parts["egress"], parts["steer"]

        wiring.connect(m, wiring.flipped(entry), border.i)
        came, enters = border.o.p, merge.i[0].p
        m.d.comb += [
            merge.i[0].valid.eq(border.o.valid), border.o.ready.eq(merge.i[0].ready),
            enters.data.eq(came.data.as_value()), enters.first.eq(came.first),
            enters.last.eq(came.last), enters.error.eq(came.error),
            enters.side.length.eq(came.meta.length),
            enters.side.function_id.eq(came.meta.function_id if lane == GUESTS else 0),
        ]
        wiring.connect(m, inject, merge.i[1])
        wiring.connect(m, merge.o, parts["entry"].i)
        wiring.connect(m, parts["entry"].o, ingress.i)
        wiring.connect(m, ingress.beats, buffer.i)
        wiring.connect(m, ingress.o, headers.tokens[lane])
        m.d.comb += [
            ingress.enable.eq(enable), ingress.handle.eq(buffer.handle),
            ingress.starts_cell.eq(buffer.starts_cell), used.eq(buffer.used),
            registers.lost[lane].eq(ingress.lost),
        ]
        wiring.connect(m, headers.reads[lane], buffer.jobs)
        wiring.connect(m, headers.writes[lane], egress.jobs)
        wiring.connect(m, buffer.o, parts["fetched"].i)
        wiring.connect(m, parts["fetched"].o, egress.beats)
        m.d.comb += [headers.done[lane].eq(egress.done), headers.dropped[lane].eq(buffer.dropped)]
        wiring.connect(m, egress.o, parts["leave"].i)
        wiring.connect(m, parts["leave"].o, steer.i)
        m.d.comb += steer.select.eq(steer.i.p.exit)
        for exit, merge in enumerate(exits):
            wiring.connect(m, steer.o[exit], merge.i[lane])

    def _leave(self, m, name, source, port):
        """From a leaving beat to the packet stream of an exit."""
        m.submodules[f"{name}_border"] = border = Buffer(port.payload.shape())
        beat, out = source.p, border.i.p
        m.d.comb += [
            border.i.valid.eq(source.valid), source.ready.eq(border.i.ready),
            out.data.as_value().eq(beat.data), out.first.eq(beat.first), out.last.eq(beat.last),
            out.meta.function_id.eq(beat.function_id), out.meta.length.eq(beat.length),
            out.meta.port.eq(beat.port),
        ]
        wiring.connect(m, border.o, wiring.flipped(port))
