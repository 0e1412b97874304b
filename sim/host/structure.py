"""A structure of a standard, packed fast: what ``rtl.octets`` does, for rings with many entries."""

from amaranth.hdl import Shape
from amaranth.lib import data

from offloadcard.rtl.octets import size_of

__all__ = ["Structure"]


class Structure:
    """Packs and unpacks one layout; fields are plain numbers.

    Parameters
    ----------
    shape : data.Struct or data.StructLayout
        As a house's ``spec`` declares it. Fields that are layouts themselves are one number.
    """

    def __init__(self, shape):
        self.size = size_of(shape)
        self.fields = {name: (field.offset, (1 << Shape.cast(field.shape).width) - 1)
                       for name, field in data.Layout.cast(shape)}

    def pack(self, **fields):
        """Octets with ``fields`` set and all others 0."""
        value = 0
        for name, number in fields.items():
            offset, mask = self.fields[name]
            if number & ~mask:
                raise ValueError(f"`{name}` must fit {mask.bit_length()} bits, not {number:#x}")
            value |= number << offset
        return value.to_bytes(self.size, "little")

    def unpack(self, octets):
        """``{field: number}`` of all fields."""
        value = int.from_bytes(octets, "little")
        return {name: value >> offset & mask for name, (offset, mask) in self.fields.items()}
