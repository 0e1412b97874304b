"""Captures in and out, with scapy as the outside witness; broken files are refused."""

import struct
from pathlib import Path

import pytest
from scapy.all import ARP, DNS, ICMP, TCP, Ether, IPv6, rdpcap, wrpcap

from sim.bridge.ethernet import PcapError, read_pcap, write_pcap
from sim.models.packet import assemble, dissect

CAPTURE = Path(__file__).resolve().parent.parent / "data" / "capture.pcap"
FRAMES  = [(1_000_000_007, bytes(range(60))), (2_500_000_123, bytes(1514))]


def test_what_we_write_scapy_reads(tmp_path):
    write_pcap(tmp_path / "ours.pcap", FRAMES)
    theirs = rdpcap(str(tmp_path / "ours.pcap"))
    assert [bytes(packet) for packet in theirs] == [octets for _, octets in FRAMES]
    assert [round(packet.time * 10**9) for packet in theirs] == [time for time, _ in FRAMES]
    assert [tuple(frame) for frame in read_pcap(tmp_path / "ours.pcap")] == FRAMES


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_what_scapy_writes_we_read(tmp_path, order, nano):
    path = tmp_path / "theirs.pcap"
    packets = [Ether(octets) for _, octets in FRAMES]
    for packet, (time, _) in zip(packets, FRAMES):
        packet.time = time // 1000 * 1000 / 10**9
    wrpcap(str(path), packets, endianness=order, nano=nano)
    assert [frame.octets for frame in read_pcap(path)] == [octets for _, octets in FRAMES]
    assert [frame.time_ns // 10**6 for frame in read_pcap(path)] == [1000, 2500]


def good():
    record = struct.pack("<4I", 1, 2, 4, 4) + b"abcd"
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + record


BROKEN = {
    "must have a header of 24 octets, not 3": good()[:3],
    "must begin with a pcap magic number, not 00000000": bytes(24),
    "not pcapng": struct.pack("<I", 0x0A0D0D0A) + bytes(20),
    "must hold Ethernet frames (link type 1), not 113": good()[:20] + struct.pack("<I", 113),
    "record 1 is cut at octet 24": good()[:30],
    "record 1 is cut at octet 42": good()[:42],
    "must hold its whole frame of 9 octets, not 4": good()[:36] + struct.pack("<I", 9) + b"abcd",
    "must hold at most 65535 octets, not 4294967295": good()[:32] + b"\xff" * 8,
}


@pytest.mark.parametrize("message", BROKEN)
def test_a_broken_file_is_one_clear_line(tmp_path, message):
    path = tmp_path / "broken.pcap"
    path.write_bytes(BROKEN[message])
    with pytest.raises(PcapError) as refused:
        read_pcap(path)
    assert message in str(refused.value) and str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_such_file(tmp_path):
    with pytest.raises(PcapError, match="No such file"):
        read_pcap(tmp_path / "nothing.pcap")


def test_the_capture_is_whole_and_varied():
    """Frames of real programs: every checksum is sound, all the promised protocols are there."""
    frames = [frame.octets for frame in read_pcap(CAPTURE)]
    assert all(assemble(dissect(octets)) == octets for octets in frames)
    packets = [Ether(octets) for octets in frames]
    for layer in (ARP, DNS, ICMP, TCP, IPv6):
        assert any(packet.haslayer(layer) for packet in packets), layer
    flags = {str(packet[TCP].flags) for packet in packets if packet.haslayer(TCP)}
    assert {"S", "SA", "FA", "RA", "PA"} <= flags
    assert any(b"HTTP/1.0 200 OK" in octets for octets in frames)
    assert any(len(octets) == 1514 for octets in frames)
    assert CAPTURE.stat().st_size < 100_000
