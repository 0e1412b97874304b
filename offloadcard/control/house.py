"""Registers of one house, by name."""

from amaranth.hdl import Shape

from ..rtl.spec_card import house_address

__all__ = ["House"]


def _bits(register, value):
    """``value``, given as fields of a structure or as an integer, as an integer that fits."""
    if isinstance(value, dict):
        value = register.shape.const(value).as_bits()
    if not 0 <= value < 1 << register.width:
        raise ValueError(f"{register.name} must fit {register.width} bits, not {value!r}")
    return value


class House:
    """Accessors of a :class:`~offloadcard.rtl.regmap.RegisterMap` behind the management port."""

    def __init__(self, port, house, registers):
        self.port = port
        self.house = house
        self.registers = registers

    async def read(self, name):
        """Value of a register: a constant of its structure, or an integer."""
        return self._value(name, await self.port.read(self._place(name)[0]))

    def _value(self, name, word):
        """What ``word``, the register's group, says of it."""
        register = self.registers[name]
        value = word >> self._place(name)[1] & (1 << register.width) - 1
        is_plain = isinstance(register.shape, int | Shape)
        return value if is_plain else register.shape.from_bits(value)

    async def write(self, name, value):
        """Write a register that stands alone in its 8 octets."""
        address, shift = self._place(name)
        await self.port.write(address, _bits(self.registers[name], value) << shift)

    def _place(self, name):
        """The register's address, and the bit of its group where it begins."""
        register = self.registers[name]
        return house_address(self.house, register.offset & ~7), register.offset % 8 * 8

    async def burst(self, accesses):
        """Write registers by name, ``(name, value)``, and read those of value ``None``, without
        waiting between; ``[(name, value)]`` of what was read."""
        words = [(self._place(name)[0], None if value is None else
                  _bits(self.registers[name], value) << self._place(name)[1])
                 for name, value in accesses]
        names = [name for name, value in accesses if value is None]
        return [(name, self._value(name, word))
                for name, word in zip(names, await self.port.burst(words), strict=True)]

    async def write_wide(self, prefix, octets):
        """Write ``octets`` into the 64-bit registers ``prefix0``, ``prefix1``, …"""
        for number in range(0, len(octets), 8):
            await self.write(f"{prefix}{number // 8}",
                             int.from_bytes(octets[number:number + 8], "little"))
