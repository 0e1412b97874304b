"""The virtio-net device of every function: assembly."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..rtl.arbiter import Merge
from ..rtl.buffer import Buffer
from ..rtl.dma import DmaReadMux, DmaWriteMux
from ..rtl.ports import (
    DmaReadPort,
    DmaWritePort,
    InterruptPort,
    LifecyclePort,
    ManagementPort,
    MmioPort,
    PacketStream,
    promptness,
)
from .checksum import Checksum
from .common_config import CommonConfig
from .confine import Slow
from .control_queue import ControlQueue
from .interrupts import Interrupts
from .layouts import PAGE_OCTETS, Geometry
from .lifecycle import Lifecycle
from .profile import EVENT_FAIL, life_event, mtu_of
from .provision import Provision
from .receive_front import ReceiveFront
from .receive_side import ReceiveSide
from .side import WRITE_TAG, connect_client, read_tag_width
from .spec import FRAME_OVERHEAD
from .transmit_side import TransmitSide

__all__ = ["Device"]


class Device(wiring.Component):
    """virtio-net with split rings, for PF0 and all its VFs, on one set of engines.

    Timing
    ------
    MMIO writes one a cycle, reads after 5 cycles; see the two sides for packets.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    mmio : ``In(MmioPort(...))``
        The guests' accesses to BAR 0.
    reads, writes : ``Out(DmaReadPort(...))``, ``Out(DmaWritePort(...))``
        DMA.
    interrupts : ``Out(InterruptPort(...))``
        MSI-X.
    lifecycle : ``In(LifecyclePort(...))``
        Functions that end.
    management : ``In(ManagementPort())``
        The provider.
    transmitted : ``Out(PacketStream(...))``
        Frames from guests.
    received : ``In(PacketStream(...))``
        Frames to guests; always taken.
    free_tags : ``In(range(pcie_tags + 1))``
        A hint; the engines' own caps hold without it.
    told : ``In(promptness(...))``
        Whose reads are answered in time; who is never said to have answered stays confined.
    """

    def __init__(self, config):
        self.config   = config
        self.geometry = Geometry(config)
        ports = {"function_id_width": config.function_id_width,
                 "tag_width": config.dma_tag_width, "data_width": config.data_width}
        packets = PacketStream(data_width=config.data_width,
                               function_id_width=config.function_id_width)
        super().__init__({
            "mmio":        In(MmioPort(function_id_width=config.function_id_width)),
            "reads":       Out(DmaReadPort(**ports)),
            "writes":      Out(DmaWritePort(**ports)),
            "interrupts":  Out(InterruptPort(function_id_width=config.function_id_width)),
            "lifecycle":   In(LifecyclePort(function_id_width=config.function_id_width)),
            "management":  In(ManagementPort()),
            "transmitted": Out(packets),
            "received":    In(packets),
            "free_tags":   In(range(config.pcie_tags + 1)),
            "told":        In(promptness(function_id_width=config.function_id_width)),
        })

    def elaborate(self, platform):
        m = Module()
        g = self.geometry
        m.submodules.registers  = registers  = CommonConfig(g)
        m.submodules.lifecycle  = lifecycle  = Lifecycle(g, life=registers.life)
        m.submodules.interrupts = interrupts = Interrupts(g, count=4)
        m.submodules.provision  = provision  = Provision(g)
        m.submodules.receive    = receive    = ReceiveSide(g)
        m.submodules.transmit   = transmit   = TransmitSide(g)
        m.submodules.control    = control    = ControlQueue(g)
        m.submodules.front      = front      = ReceiveFront(g)
        m.submodules.slow       = slow       = Slow(g)
        m.submodules.checksum   = checksum   = Checksum(
            data_width=g.data_width, function_id_width=g.id_width,
            max_octets=self.config.max_frame_octets)

        # The guests' side of the registers.
        wiring.connect(m, wiring.flipped(self.mmio), registers.mmio)
        wiring.connect(m, wiring.flipped(self.management), provision.management)
        wiring.connect(m, wiring.flipped(self.lifecycle), lifecycle.lifecycle)
        wiring.connect(m, registers.resets, lifecycle.resets)
        wiring.connect(m, registers.queue_resets, lifecycle.queue_resets)
        m.d.comb += [
            registers.functions[0].eq(lifecycle.function), lifecycle.life.eq(registers.lives),
            registers.reset_queue.eq(lifecycle.reset_queue),
            lifecycle.reset_now.eq(registers.reset_now),
            registers.functions[4].eq(provision.status_function),
            provision.status.eq(registers.status),
            provision.functions[0].eq(registers.profile_functions[0]),
            provision.functions[1].eq(registers.profile_functions[1]),
            registers.profiles[0].eq(provision.profiles[0]),
            registers.profiles[1].eq(provision.profiles[1]),
            provision.generation_function.eq(registers.profile_functions[1]),
            registers.config_generation.eq(provision.generation),
            interrupts.function.eq(registers.isr_function),
            interrupts.read.eq(registers.isr_read), registers.isr.eq(interrupts.isr),
        ]

        # Both sides, by the way of their queues.
        longest = Signal(17)
        pages   = Signal(range(g.frame_pages + 1))
        m.d.comb += [
            provision.functions[2].eq(transmit.function),
            longest.eq(mtu_of(provision.profiles[2]) + FRAME_OVERHEAD + PAGE_OCTETS - 1),
            pages.eq(Mux((longest >> 9) < g.frame_pages, longest >> 9, g.frame_pages)),
            transmit.frame_pages.eq(pages), receive.frame_pages.eq(0),
            slow.told.eq(self.told), slow.look.eq(transmit.function), transmit.slow.eq(slow.slow),
            transmit.receive.waits.eq(receive.waits),
            transmit.receive.frame.eq(receive.written.valid),
        ]
        for way, side in enumerate((receive, transmit, control)):
            wiring.connect(m, registers.doorbells[way], side.doorbells)
            wiring.connect(m, registers.starts[way], side.starts)
            wiring.connect(m, lifecycle.checks[way], side.checks)
            m.d.comb += [
                registers.queues[way].eq(side.queue), side.setup.eq(registers.setups[way]),
                lifecycle.checked[way].eq(side.checked), lifecycle.idle[way].eq(side.idle),
                side.interrupted.eq(interrupts.accepted[way]),
            ]
            wiring.connect(m, side.interrupts, interrupts.sources[way])
        m.d.comb += [
            registers.functions[1].eq(transmit.function), transmit.alive.eq(registers.alive[1]),
            registers.functions[2].eq(receive.function), receive.alive.eq(registers.alive[2]),
            registers.receivers[0].eq(receive.queues[0]),
            receive.alives[0].eq(registers.receives[0]),
            registers.receivers[1].eq(receive.queues[1]),
            receive.alives[1].eq(registers.receives[1]),
            registers.functions[3].eq(g.function_of(control.queue)),
            control.alive.eq(registers.alive[3]),
            registers.choosers[0].eq(g.function_of(control.queue)),
            control.chosen.eq(registers.chosen[0]),
            provision.functions[3].eq(g.function_of(control.queue)),
            control.profile.eq(provision.profiles[3]),
            registers.choosers[1].eq(front.row), front.chosen.eq(registers.chosen[1]),
            control.receiver.eq(front.row), front.last_pair.eq(control.last_pair),
        ]
        wiring.connect(m, lifecycle.looks, receive.looks)
        wiring.connect(m, registers.interrupts, interrupts.sources[3])
        wiring.connect(m, interrupts.interrupts, wiring.flipped(self.interrupts))

        # What happens to a function from inside: failures of both sides, the provider, its end.
        failures = (*transmit.failures, *receive.failures, control.failures)
        m.submodules.failed = failed = Merge(unsigned(g.id_width), count=len(failures))
        m.submodules.events = events = Merge(life_event(g), count=3)
        for number, (source, port) in enumerate(zip(failures, failed.i)):
            # Who is heard decides nothing in the cycle of those who speak.
            m.submodules[f"failure_{number}"] = failure = Buffer(unsigned(g.id_width))
            wiring.connect(m, source, failure.i)
            wiring.connect(m, failure.o, port)
        wiring.connect(m, lifecycle.events, events.i[0])
        wiring.connect(m, provision.events, events.i[1])
        m.d.comb += [
            events.i[2].valid.eq(failed.o.valid), failed.o.ready.eq(events.i[2].ready),
            events.i[2].p.kind.eq(EVENT_FAIL), events.i[2].p.function_id.eq(failed.o.payload),
        ]
        wiring.connect(m, events.o, registers.events)
        m.d.comb += [
            provision.failed.valid.eq(registers.failed), provision.failed.row.eq(
                registers.failed_row),
            provision.sent.eq(transmit.sent), provision.written.eq(receive.written),
            provision.dropped[0].eq(receive.dropped[0]),
            provision.dropped[1].eq(receive.dropped[1]),
        ]

        # DMA: one port each way, a register slice at the border.
        tag = read_tag_width(g)
        m.submodules.reads = reads = DmaReadMux(
            count=6, tag_width=tag, function_id_width=g.id_width, data_width=g.data_width)
        for client, port in zip(reads.clients, (*transmit.reads, *receive.reads, control.reads)):
            connect_client(m, client, port)
        m.submodules.read_border = border = Buffer(self.reads.requests.payload.shape())
        wiring.connect(m, border.o, wiring.flipped(self.reads.requests))
        requests = reads.port.requests
        m.d.comb += [
            *(border.i.p[name].eq(requests.p[name]) for name in requests.p.shape().members),
            border.i.valid.eq(requests.valid), requests.ready.eq(border.i.ready),
        ]
        # Answers leave a register of the endpoint, and every engine keeps its own in one.
        answers = self.reads.beats
        m.d.comb += [
            *(reads.port.beats.p[name].eq(answers.p[name])
              for name in answers.payload.shape().members),
            reads.port.beats.valid.eq(answers.valid),
        ]
        m.submodules.writes = writes = DmaWriteMux(
            count=4, tag_width=WRITE_TAG, function_id_width=g.id_width, data_width=g.data_width)
        for client, port in zip(writes.clients, (transmit.writes, *receive.writes, control.writes)):
            wiring.connect(m, port, client)
        m.submodules.write_border = w_border = Buffer(self.writes.beats.payload.shape())
        wiring.connect(m, w_border.o, wiring.flipped(self.writes.beats))
        beats = writes.port.beats
        m.d.comb += [
            *(w_border.i.p[name].eq(beats.p[name]) for name in beats.p.shape().members),
            w_border.i.valid.eq(beats.valid), beats.ready.eq(w_border.i.ready),
            *(writes.port.answers.p[name].eq(self.writes.answers.p[name])
              for name in self.writes.answers.p.shape().members),
            writes.port.answers.valid.eq(self.writes.answers.valid),
        ]

        # Packets: their borders are in the checksum and in the receive side.
        wiring.connect(m, transmit.transmitted, checksum.i)
        wiring.connect(m, checksum.o, wiring.flipped(self.transmitted))
        wiring.connect(m, wiring.flipped(self.received), front.i)
        wiring.connect(m, front.o, receive.received)

        return m
