"""A program of some fifty octets for a PC's firmware, so that a boot can be seen from outside.

It prints a text on the first serial port, and ends QEMU by a device made for that. As a boot sector
it first reads sectors by the BIOS, and writes them elsewhere; loaded whole from the network, it
has its text at its end.
"""

import struct

__all__ = ["COPY", "LENGTH", "SUCCESS", "TEXT", "drive_image", "loaded_program"]

TEXT, COPY = 1, 64  # sectors: where the drive's text stands, and where the program puts it again
LENGTH = 8          # sectors of it
SUCCESS = 33        # QEMU's exit code: isa-debug-exit makes 2 n + 1 of a number
_ORIGIN, _BUFFER, _SECTOR = 0x7C00, 0x8000, 512
_SERIAL, _EXIT = 0x3F8, 0xF4
# int 13h: a packet of 16 octets: size, sectors, offset and segment of the buffer, first sector
_PACKET = struct.pack("<BBHHHQ", 16, 0, LENGTH, _BUFFER, 0, TEXT)


def _word(value):
    return struct.pack("<H", value & 0xFFFF)


def _assemble(parts):
    """Code of (octets | ("label", name) | (kind, opcode, name)) parts, at its origin."""
    places, at = {}, _ORIGIN
    for part in parts:
        if part[0] == "label":
            places[part[1]] = at
        else:
            at += len(part) if isinstance(part, bytes) else \
                len(part[1]) + (1 if part[0] == "short" else 2) + len(b"".join(part[3:]))
    code = b""
    for part in parts:
        if isinstance(part, bytes):
            code += part
        elif part[0] != "label":
            kind, opcode, name, *rest = part
            behind = _ORIGIN + len(code) + len(opcode) + (1 if kind == "short" else 2)
            if kind == "short":
                code += opcode + struct.pack("<b", places[name] - behind)
            else:
                code += opcode + _word(places[name] - (behind if kind == "near" else 0))
            code += b"".join(rest)
    return code


_START = [b"\xfa\x31\xc0\x8e\xd8\x8e\xd0\xbc\x00\x7c\xfb\xfc"]  # flat segments, a stack
_READ = [("at", b"\xbe", "packet"), b"\xb4\x42\xcd\x13", ("short", b"\x72", "failed")]
_WRITE = [("at", b"\xc7\x06", "sector", _word(COPY)), ("at", b"\xbe", "packet"),
          b"\xb8\x00\x43\xcd\x13", ("short", b"\x72", "failed")]
_PRINT = [("near", b"\xe8", "print")]
_ENDS = [  # al = 16, or 17 after a failure, to the port that ends QEMU
    b"\xb0" + bytes([SUCCESS >> 1]), b"\xeb\x02", ("label", "failed"), b"\xb0\x11",
    b"\xba" + _word(_EXIT), b"\xee\xf4\xeb\xfd",
    ("label", "print"), b"\x52\xba" + _word(_SERIAL), ("label", "next"),
    b"\xac\x84\xc0", ("short", b"\x74", "done"), b"\xee", ("short", b"\xeb", "next"),
    ("label", "done"), b"\x5a\xc3"]


def drive_image(text, octets):
    """A drive that boots: it prints ``text``, read from the drive, and copies it to ``COPY``."""
    said = text.encode() + b"\r\n\0"
    place = _BUFFER + LENGTH * _SECTOR - len(said)
    code = _assemble([*_START, *_READ, b"\xbe" + _word(place), *_PRINT, *_WRITE, *_ENDS,
                      ("label", "packet"), _PACKET[:8], ("label", "sector"), _PACKET[8:]])
    first = code.ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"
    if len(first) != _SECTOR or len(said) > LENGTH * _SECTOR:
        raise ValueError(f"`text` must fit into {LENGTH} sectors, not {len(said)} octets")
    # The text ends with the last sector, so that all of them must have come.
    return (first + said.rjust(LENGTH * _SECTOR, b"\1")).ljust(octets, b"\0")


def loaded_program(text, octets):
    """The same for a loader that puts a whole file to 7C00h: ``text`` stands at its end."""
    said = text.encode() + b"\r\n\0"
    place = _ORIGIN + octets - len(said)
    code = _assemble([*_START, b"\xbe" + _word(place), *_PRINT, *_ENDS])
    if len(code) + len(said) > octets:
        raise ValueError(f"`octets` must be {len(code) + len(said)} or more, not {octets}")
    return code.ljust(octets - len(said), b"\0") + said
