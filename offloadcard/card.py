"""The card assembled: four houses, the MAC, the management steer, connected."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .gft.pipeline import Pipeline
from .nvme_emul.controller import Controller
from .pcie.endpoint import Endpoint
from .pcie.spec import credits, tlp_beat
from .rtl.mac import Mac, mac_beat
from .rtl.management import ManagementSteer
from .rtl.ports import DramPort, ManagementPort, PacketStream
from .virtio_net_emul.device import Device

__all__ = ["Card"]


class Card(wiring.Component):
    """The whole offload card, from the PCIe link's transaction layer to the Ethernet MAC.

    Wiring only. What surrounds it (link, host memory, DRAM, the wire, the card's own processor) is
    connected to its border; decision 0001 gives the rules of each port.

    Timing
    ------
    One clock, ``config.clock_mhz``. A register slice stands at each house's border.

    Parameters
    ----------
    config : CardConfig
        The card's parameters.

    Members
    -------
    link_up : ``In(1)``
        The PCIe link is in L0; low is a hot reset.
    rx_requests, rx_completions : ``In(stream.Signature(tlp_beat(...), always_ready=True))``
        TLPs from the link.
    tx_reads, tx_writes, tx_completions : ``Out(stream.Signature(tlp_beat(...)))``
        TLPs to the link, ordered by their handshakes.
    tx_credit_limit, rx_credit_allocated : ``In(credits())``, ``Out(credits())``
        Flow control: what the other side granted, what the card grants.
    wire_rx, wire_tx : streams of ``mac_beat(...)``
        Frames without FCS from and to the MAC's other side.
    dram : ``Out(DramPort(...))``
        The memory behind the volumes.
    exceptions, inject : packet streams
        To and from the slow path on the card's own processor.
    management : ``In(ManagementPort())``
        Registers of all houses, for the card's own processor only.
    busy : ``Out(1)``
        Packets are in the switch, or a drive is over its allowance: the clock must go on though
        all ports are still. See :attr:`~.config.CardConfig.quiet_clocks`.
    """

    def __init__(self, config):
        self.config = config
        tlp    = tlp_beat(data_width=config.data_width)
        mac    = mac_beat(data_width=config.data_width)
        packet = PacketStream(data_width=config.data_width,
                              function_id_width=config.function_id_width)
        super().__init__({
            "link_up":             In(1),
            "rx_requests":         In(stream.Signature(tlp, always_ready=True)),
            "rx_completions":      In(stream.Signature(tlp, always_ready=True)),
            "tx_reads":            Out(stream.Signature(tlp)),
            "tx_writes":           Out(stream.Signature(tlp)),
            "tx_completions":      Out(stream.Signature(tlp)),
            "tx_credit_limit":     In(credits()),
            "rx_credit_allocated": Out(credits()),
            "wire_rx":             In(stream.Signature(mac, always_ready=True)),
            "wire_tx":             Out(stream.Signature(mac)),
            "dram":                Out(DramPort(function_id_width=config.function_id_width,
                                                tag_width=config.dma_tag_width,
                                                data_width=config.data_width)),
            "exceptions":          Out(packet),
            "inject":              In(packet),
            "management":          In(ManagementPort()),
            "busy":                Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        m.submodules.pcie       = pcie  = Endpoint(config)
        m.submodules.virtio_net = net   = Device(config)
        m.submodules.nvme       = nvme  = Controller(config)
        m.submodules.gft        = gft   = Pipeline(config)
        m.submodules.mac        = mac   = Mac(config)
        m.submodules.management = steer = ManagementSteer(config)

        for name in ("rx_requests", "rx_completions", "tx_reads", "tx_writes", "tx_completions"):
            connect(m, flipped(getattr(self, name)), getattr(pcie, name))
        m.d.comb += [
            pcie.link_up.eq(self.link_up),
            pcie.tx_credit_limit.eq(self.tx_credit_limit),
            self.rx_credit_allocated.eq(pcie.rx_credit_allocated),
            net.free_tags.eq(pcie.free_tags), net.told.eq(pcie.told),
            nvme.free_tags.eq(pcie.free_tags),
        ]
        m.d.sync += self.busy.eq(gft.busy | nvme.busy)
        for prefix, device in (("net", net), ("nvme", nvme)):
            for port in ("mmio", "reads", "writes", "interrupts", "lifecycle"):
                connect(m, getattr(pcie, f"{prefix}_{port}"), getattr(device, port))

        connect(m, net.transmitted, gft.from_guests)
        connect(m, gft.to_guests, net.received)
        connect(m, gft.to_wire, mac.from_card)
        connect(m, mac.to_card, gft.from_wire)
        connect(m, flipped(self.wire_rx), mac.wire_rx)
        connect(m, mac.wire_tx, flipped(self.wire_tx))
        connect(m, gft.exceptions, flipped(self.exceptions))
        connect(m, flipped(self.inject), gft.inject)
        connect(m, nvme.dram, flipped(self.dram))

        connect(m, flipped(self.management), steer.management)
        for number, house in enumerate((mac, pcie, net, nvme, gft)):
            connect(m, steer.houses[number], house.management)

        return m
