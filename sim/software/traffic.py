"""Captures for software switches: one UDP packet for every flow, plain or in VXLAN."""

import random
import struct
from pathlib import Path

__all__ = ["address", "write_pcap", "flows"]

MAC_TO, MAC_FROM = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")


def address(number):
    """Destination of flow ``number``, in 198.16.0.0/12."""
    return f"198.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def _checksum(octets):
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _udp(number, octets):
    length = octets - 14
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 0, 0, 64, 17, 0, bytes([192, 168, 0, 1]),
                         bytes(int(part) for part in address(number).split(".")))
    header = header[:10] + struct.pack("!H", _checksum(header)) + header[12:]
    udp = struct.pack("!HHHH", 1024 + (number & 0x3FFF), 9, length - 20, 0)
    return MAC_TO + MAC_FROM + b"\x08\0" + header + udp + bytes(length - 28)


def flows(count, octets, *, seed=1):
    """A packet for each of ``count`` flows in any order, 64 packets or more."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    packets = [_udp(number, octets) for number in order]
    while len(packets) < 64:
        packets *= 2
    return packets


def write_pcap(path, packets):
    """A capture file of Ethernet frames."""
    with Path(path).open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        for packet in packets:
            file.write(struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet)
