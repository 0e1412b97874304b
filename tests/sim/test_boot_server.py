"""The file server behind the wire, asked by frames that scapy made."""

import struct

from scapy.all import IP, UDP, Ether, Raw
from scapy.layers.vxlan import VXLAN

from sim.linux.fabric import VTEP
from sim.qemu.boot_server import FILE, HOST, BootServer

OCTETS = bytes(range(256)) * 5


class NoWire:
    """An environment whose wire is silent."""

    def listen_to_wire(self, on_frame):
        pass


def asks(payload, port=69, vni=5001, to=str(HOST.address)):
    inner = (Ether(src="02:00:00:00:00:0a", dst=HOST.mac.hex(":")) / IP(src="10.0.0.10", dst=to)
             / UDP(sport=2000, dport=port) / Raw(payload))
    return bytes(Ether() / IP(src="192.0.2.1", dst=str(VTEP)) / UDP(sport=9, dport=4789)
                 / VXLAN(vni=vni, flags=8) / inner)


def test_a_file_in_blocks():
    server = BootServer(NoWire(), None, OCTETS)
    came, number = b"", 0
    message, port = struct.pack(">H", 1) + FILE.encode() + b"\0octet\0", 69
    while True:
        frame = Ether(server.answer(asks(message, port)))
        assert frame[VXLAN].vni == 5001
        inner = frame[VXLAN].payload
        assert (inner[IP].dst, inner[UDP].dport, inner.dst) == ("10.0.0.10", 2000,
                                                                "02:00:00:00:00:0a")
        kind, block = struct.unpack_from(">HH", bytes(inner[UDP].payload))
        octets = bytes(inner[UDP].payload)[4:]
        number += 1
        assert (kind, block) == (3, number)
        came += octets
        message, port = struct.pack(">HH", 4, number), inner[UDP].sport
        if len(octets) < 512:
            break
    assert came == OCTETS and server.answer(asks(message, port)) is None
    assert server.finished == 1


def test_what_is_not_served():
    server = BootServer(NoWire(), None, OCTETS)
    refused = Ether(server.answer(asks(b"\0\1other\0octet\0")))
    assert bytes(refused[VXLAN].payload[UDP].payload)[:4] == bytes([0, 5, 0, 1])
    assert server.answer(asks(b"\0\1x")) is None
    assert server.answer(asks(b"\0\2program\0octet\0")) is None
    assert server.answer(asks(b"\0\1program\0octet\0", to="10.0.0.101")) is None
    assert server.answer(asks(b"\0\1program\0octet\0")[:70]) is None
    assert server.answer(bytes(64)) is None
