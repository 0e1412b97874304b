"""Captured traffic in and out: pcap files.

Files of the classic format are read in both octet orders and both resolutions, and written with
nanoseconds. A broken file is refused with one line that says where.
"""

# Ref: draft-ietf-opsawg-pcap (PCAP capture file format), 4 and 5

import struct
from pathlib import Path
from typing import NamedTuple

__all__ = ["PcapError", "Captured", "read_pcap", "write_pcap", "PcapWriter"]

_MAGIC_US, _MAGIC_NS = 0xA1B2_C3D4, 0xA1B2_3C4D
_PCAPNG = 0x0A0D_0D0A
_LINKTYPE_ETHERNET = 1
_LONGEST = 65_535


class PcapError(ValueError):
    """The file cannot be used; the message is one line."""


class Captured(NamedTuple):
    """One frame of a capture, without FCS."""
    time_ns: int
    octets:  bytes


def read_pcap(path):
    """Frames of the capture at ``path``, in its order; :class:`PcapError` if it is broken."""
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PcapError(f"{path}: {error.strerror or error}") from None
    return list(_frames(raw, path))


def _frames(raw, path):
    if len(raw) < 24:
        raise PcapError(f"{path}: a pcap file must have a header of 24 octets, not {len(raw)}")
    for order in "<>":
        magic = struct.unpack_from(f"{order}I", raw)[0]
        if magic in (_MAGIC_US, _MAGIC_NS):
            break
    else:
        if magic == _PCAPNG:
            raise PcapError(f"{path}: must be of the classic pcap format, not pcapng "
                            f"(tcpdump -r in.pcapng -w out.pcap converts it)")
        raise PcapError(f"{path}: must begin with a pcap magic number, not {raw[:4].hex()}")
    scale = 1000 if magic == _MAGIC_US else 1
    link_type = struct.unpack_from(f"{order}I", raw, 20)[0] & 0x0FFF_FFFF
    if link_type != _LINKTYPE_ETHERNET:
        raise PcapError(f"{path}: must hold Ethernet frames (link type 1), not {link_type}")
    place, number = 24, 1
    while place < len(raw):
        if place + 16 > len(raw):
            raise PcapError(f"{path}: record {number} is cut at octet {place}")
        seconds, fraction, kept, length = struct.unpack_from(f"{order}4I", raw, place)
        if kept > _LONGEST or kept > length:
            raise PcapError(f"{path}: record {number} at octet {place} must hold at most "
                            f"{min(length, _LONGEST)} octets, not {kept}")
        if kept < length:
            raise PcapError(f"{path}: record {number} must hold its whole frame of {length} "
                            f"octets, not {kept} (capture with a longer snapshot length)")
        place += 16
        if place + kept > len(raw):
            raise PcapError(f"{path}: record {number} is cut at octet {len(raw)}")
        yield Captured(seconds * 1_000_000_000 + fraction * scale, raw[place:place + kept])
        place, number = place + kept, number + 1


class PcapWriter:
    """Write frames to a capture as they come; a context manager."""

    def __init__(self, path):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._file.write(struct.pack("<IHHiIII", _MAGIC_NS, 2, 4, 0, 0, _LONGEST,
                                     _LINKTYPE_ETHERNET))

    def write(self, time_ns, octets):
        """Append one frame, seen at ``time_ns``."""
        seconds, fraction = divmod(int(time_ns), 1_000_000_000)
        self._file.write(struct.pack("<4I", seconds, fraction, len(octets), len(octets)))
        self._file.write(octets)

    def close(self):
        """The file is whole."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def write_pcap(path, frames):
    """Write ``(time_ns, octets)`` pairs to ``path``."""
    with PcapWriter(path) as writer:
        for time_ns, octets in frames:
            writer.write(time_ns, octets)
