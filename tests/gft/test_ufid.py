"""The parser against octets of others: golden frames, and a capture of real protocols."""

from pathlib import Path

import pytest
from amaranth.sim import Simulator
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap

from offloadcard.gft.parse import LayerParser
from offloadcard.gft.spec import HEADER_WINDOW, Reason
from offloadcard.gft.ufid import LATENCY, Ufid
from tests.gft.harness import address
from tests.golden.packets import FRAMES

CAPTURE = Path(__file__).parents[1] / "data" / "capture.pcap"


def parse(frames):
    """What the parser says of ``(octets, from the wire)``, one a cycle."""
    dut, said = Ufid(), []

    async def bench(ctx):
        for number in range(len(frames) + LATENCY):
            if number >= LATENCY:
                said.append(ctx.get(dut.o))
            octets, wire = frames[min(number, len(frames) - 1)]
            ctx.set(dut.i, {"window": int.from_bytes(octets[:HEADER_WINDOW], "little"),
                            "length": len(octets), "source": 0 if wire else 5, "wire": wire})
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return said


def test_golden_frames():
    for said, (_, wire, fields) in zip(parse([frame[:2] for frame in FRAMES]), FRAMES):
        assert said.reason == Reason.NONE
        assert {name: said.key[name] for name in fields} == fields
        assert said.key.direction == wire and said.key.source == (0 if wire else 5)


def test_capture():
    """Every frame that scapy finds whole, with the addresses and ports that it finds."""
    frames = [bytes(packet) for packet in rdpcap(str(CAPTURE))]
    frames = [frame for frame in frames if len(frame) >= 14][:300]
    seen = set()
    for octets, said in zip(frames, parse([(frame, False) for frame in frames])):
        packet = Ether(octets)
        layer = packet.getlayer(IP) or packet.getlayer(IPv6)
        if layer is None:
            assert said.key.l3_type == 0 and said.key.source_port == packet.type
            seen.add("other")
            continue
        if said.reason != Reason.NONE:
            assert said.reason in (Reason.EXTENSION, Reason.FRAGMENT)
            continue
        assert said.key.source_address == address(layer.src)
        assert said.key.destination_address == address(layer.dst)
        for kind in (TCP, UDP):
            if kind in packet:
                assert said.key.source_port == packet[kind].sport
                assert said.key.destination_port == packet[kind].dport
                seen.add(kind.__name__)
        if ICMP in packet:
            assert said.key.source_port == packet[ICMP].id
            seen.add("ICMP")
        if TCP in packet:
            assert said.layer.tcp_flags == int(packet[TCP].flags) & 7
    assert seen >= {"other", "TCP", "UDP", "ICMP"}


def test_every_truncation():
    """A frame that is cut anywhere is never taken for whole."""
    for octets, wire, _ in FRAMES:
        shortest = 14 if octets[12:14] == b"\x08\x06" else len(octets)
        cut = [(octets[:length], wire) for length in range(1, shortest)]
        for (part, _), said in zip(cut, parse(cut)):
            assert said.reason != Reason.NONE, len(part)


def test_bad_parameter():
    with pytest.raises(ValueError, match="`window` must be at least 54, not 53"):
        LayerParser(window=53)
