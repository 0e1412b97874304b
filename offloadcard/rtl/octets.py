"""Octets of a structure: every standard's structure is packed and unpacked here, and only here."""

from amaranth.hdl import Shape

__all__ = ["size_of", "pack", "unpack"]


def size_of(shape):
    """Size of ``shape`` in octets; ``ValueError`` if it is not a whole number of them."""
    octets, rest = divmod(Shape.cast(shape).width, 8)
    if rest:
        raise ValueError(f"{shape!r} must be a whole number of octets")
    return octets


def pack(shape, fields, *, swap=1):
    """Octets of ``shape`` with ``fields`` set; every group of ``swap`` octets is reversed."""
    raw = shape.const(fields).as_bits().to_bytes(size_of(shape), "little")
    return b"".join(raw[n:n + swap][::-1] for n in range(0, len(raw), swap))


def unpack(shape, octets, *, swap=1):
    """Fields of ``shape`` found in ``octets``; the inverse of :func:`pack`."""
    if len(octets) != size_of(shape):
        raise ValueError(f"`octets` must be {size_of(shape)} octets, not {len(octets)}")
    raw = b"".join(octets[n:n + swap][::-1] for n in range(0, len(octets), swap))
    return shape.from_bits(int.from_bytes(raw, "little"))
