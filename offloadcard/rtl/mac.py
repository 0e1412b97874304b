"""The Ethernet port of the card, with the card's own registers."""

# Ref: ieee-802.3-2022, 4 (media access control)

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .mac_receive import MacReceive
from .mac_transmit import MacTransmit
from .ports import ManagementPort, PacketStream
from .regbank import RegisterBank
from .spec_card import MANAGEMENT, identity, mac_beat

__all__ = ["Mac"]


class Mac(wiring.Component):
    """Frames between card and wire at the line's rate; house 0 of the management port.

    See :class:`MacTransmit` and :class:`MacReceive`. FCS and preamble are the wire's: a frame is
    its octets without FCS, and ``error`` stands for a wrong one.

    Timing
    ------
    To the wire 2 cycles, from the wire (store and forward) 5 after the last beat; one beat per
    cycle both ways, ``port_gbps`` to the wire. Registers as of :class:`RegisterBank`.

    Parameters
    ----------
    config : CardConfig
        The card.

    Members
    -------
    from_card : ``In(PacketStream(...))``
        Packets to send.
    to_card : ``Out(PacketStream(...))``
        Packets received.
    wire_tx : ``Out(stream.Signature(mac_beat(...)))``
        To the wire.
    wire_rx : ``In(stream.Signature(mac_beat(...), always_ready=True))``
        From the wire.
    management : ``In(ManagementPort())``
        Registers of ``spec_card.MANAGEMENT``.
    """

    def __init__(self, config):
        self.config = config
        packet = PacketStream(data_width=config.data_width,
                              function_id_width=config.function_id_width)
        beat   = mac_beat(data_width=config.data_width)
        super().__init__({
            "from_card":  In(packet),
            "to_card":    Out(packet),
            "wire_tx":    Out(stream.Signature(beat)),
            "wire_rx":    In(stream.Signature(beat, always_ready=True)),
            "management": In(ManagementPort()),
        })

    def elaborate(self, platform):
        m = Module()

        config = self.config
        widths = {"data_width": config.data_width, "function_id_width": config.function_id_width}
        m.submodules.transmit = transmit = MacTransmit(
            port_mbps=config.port_gbps * 1000, clock_mhz=config.clock_mhz, **widths)
        # Room for two of the longest frames, and for a burst of short ones.
        depth = 1 << max(ceil_log2(2 * config.max_frame_octets * 8 // config.data_width), 8)
        m.submodules.receive = receive = MacReceive(
            max_frame_octets=config.max_frame_octets, depth=depth, **widths)
        m.submodules.bank = bank = RegisterBank(MANAGEMENT)

        flipped = wiring.flipped
        wiring.connect(m, flipped(self.from_card), transmit.packets)
        wiring.connect(m, transmit.wire, flipped(self.wire_tx))
        wiring.connect(m, flipped(self.wire_rx), receive.wire)
        wiring.connect(m, receive.packets, flipped(self.to_card))
        wiring.connect(m, flipped(self.management), bank.management)
        m.d.comb += [
            transmit.enable.eq(bank.mac_control.tx_enable),
            receive.enable.eq(bank.mac_control.rx_enable),
        ]

        for name, value in identity(config).items():
            m.d.comb += Value.cast(getattr(bank, name.lower())).eq(value)
        events = {
            "cycles":       (1, 1),
            "tx_frames":    (transmit.sent, 1),
            "tx_octets":    (transmit.sent, transmit.sent_octets),
            "tx_errors":    (transmit.sent & transmit.sent_error, 1),
            "rx_frames":    (receive.kept, 1),
            "rx_octets":    (receive.kept, receive.kept_octets),
            "rx_errors":    (receive.dropped.error, 1),
            "rx_runts":     (receive.dropped.runt, 1),
            "rx_oversize":  (receive.dropped.oversize, 1),
            "rx_overruns":  (receive.dropped.overrun, 1),
            "rx_disabled":  (receive.dropped.disabled, 1),
        }
        for name, (event, amount) in events.items():
            counter = Signal(64, name=f"{name}_count")
            m.d.comb += getattr(bank, name).eq(counter)
            with m.If(event):
                m.d.sync += counter.eq(counter + amount)

        return m
