"""Register maps: declared once, used by the bank in RTL, by drivers, by docs and by tests."""

from typing import NamedTuple

from amaranth.hdl import Shape

__all__ = ["Register", "RegisterMap"]

ACCESS = ("ro", "rw", "rw1c", "wo")


class Register(NamedTuple):
    """One register of a map.

    ``offset`` is in octets from the start of the map; ``shape`` a ``data.Struct`` or a width in
    bits; ``access`` as the reader of the map sees it, one of ``"ro"``, ``"rw"``, ``"rw1c"``,
    ``"wo"``; ``ref`` the edition and section that asks for it, or "ours".
    """
    name:   str
    offset: int
    shape:  object
    access: str
    ref:    str
    reset:  int = 0
    doc:    str = ""

    @property
    def width(self):
        """Width in bits."""
        return Shape.cast(self.shape).width

    @property
    def octets(self):
        """Size in octets, rounded up."""
        return (self.width + 7) // 8


class RegisterMap:
    """Registers that do not overlap, by name and by offset.

    ``ValueError`` names the two registers that clash, the unknown access or the bad reset.
    """

    def __init__(self, name, registers, *, size=None):
        self.name = name
        self.registers = tuple(registers)
        self.by_name = {}
        taken = {}
        for register in self.registers:
            if register.access not in ACCESS:
                raise ValueError(f"`access` of {name}.{register.name} must be one of {ACCESS}, "
                                 f"not {register.access!r}")
            if register.reset >> register.width:
                raise ValueError(f"`reset` of {name}.{register.name} must fit {register.width} "
                                 f"bits, not {register.reset:#x}")
            if register.name in self.by_name:
                raise ValueError(f"{name}.{register.name} must be declared once")
            self.by_name[register.name] = register
            for octet in range(register.offset, register.offset + register.octets):
                if octet in taken:
                    raise ValueError(f"{name}.{register.name} must not overlap "
                                     f"{taken[octet]} at octet {octet:#x}")
                taken[octet] = register.name
        used = max(taken, default=-1) + 1
        self.size = used if size is None else size
        if used > self.size:
            raise ValueError(f"{name} must fit {self.size} octets, not {used}")

    def __getitem__(self, name):
        return self.by_name[name]

    def __iter__(self):
        return iter(self.registers)

    def markdown(self):
        """The map as a Markdown table, for ``docs/registers``."""
        lines = [f"## {self.name}", "", "| offset | register | bits | access | reset | source | |",
                 "|---|---|---|---|---|---|---|"]
        lines += [f"| {r.offset:#06x} | {r.name} | {r.width} | {r.access} | {r.reset:#x} "
                  f"| {r.ref} | {r.doc} |" for r in sorted(self, key=lambda r: r.offset)]
        return "\n".join(lines) + "\n"
