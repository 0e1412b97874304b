"""A host behind the wire that serves one file by TFTP, to guests that reach it through a tunnel."""

# Ref: rfc-1350, 4 (Initial Connection Protocol), 5 (TFTP Packets)

import struct

from sim.linux.fabric import VTEP, Router
from sim.models.packet import Ethernet, Ipv4, Malformed, Udp, dissect
from sim.traffic import Member, from_wire, udp

__all__ = ["FILE", "HOST", "BootServer"]

HOST = Member("020000000064", "10.0.0.100")
FILE = "program"
_TFTP, _OWN, _BLOCK = 69, 1069, 512
_READ, _DATA, _ACK, _FAILED = 1, 3, 4, 5
_NOT_FOUND = 1


class BootServer(Router):
    """The wire's far end: nothing but requests for the file is answered.

    Parameters
    ----------
    octets : bytes
        Of the file.

    Attributes
    ----------
    finished : int
        Files whose last block was acknowledged.
    """

    def __init__(self, env, timeline, octets):
        super().__init__(env, timeline, ())
        self.octets, self.finished = octets, 0

    def answer(self, octets):
        vni = self._vni(octets)
        try:
            frame = dissect(octets) if vni is not None else None
        except Malformed:
            return None
        ip, ports = (frame.find(Ipv4), frame.find(Udp)) if frame else (None, None)
        if frame is None or ip.destination != HOST.address.packed:
            return None
        told = self._tftp(ports.destination_port, frame.payload)
        if told is None:
            return None
        guest = Member(frame.find(Ethernet).source.hex(), ip.source)
        return from_wire(udp(HOST, guest, told, source_port=_OWN,
                             destination_port=ports.source_port), vni, VTEP)

    def _tftp(self, port, message):
        """The packet that answers a packet, or None; options of a request are not taken."""
        if len(message) < 4:
            return None
        kind = struct.unpack_from(">H", message)[0]
        if (port, kind) == (_TFTP, _READ):
            name = message[2:].split(b"\0")[0].decode(errors="replace")
            if name != FILE:
                return struct.pack(">HH", _FAILED, _NOT_FOUND) + b"no such file\0"
            return self._data(1)
        if (port, kind) == (_OWN, _ACK):
            done = struct.unpack_from(">H", message, 2)[0]
            if done * _BLOCK <= len(self.octets):
                return self._data(done + 1)
            self.finished += 1
        return None

    def _data(self, number):
        start = (number - 1) * _BLOCK
        return struct.pack(">HH", _DATA, number) + self.octets[start:start + _BLOCK]
