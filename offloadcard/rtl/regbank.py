"""A register map as a component, on the management port."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .ports import ManagementPort

__all__ = ["RegisterBank"]


class RegisterBank(wiring.Component):
    """Registers of a :class:`~offloadcard.rtl.regmap.RegisterMap`, reached 8 octets at a time.

    Every request is answered: with ``error`` where no register stands, where a read meets only
    ``wo`` registers, or where a write meets only ``ro`` ones. A write covers its whole 8 octets.

    Timing
    ------
    Reply 2 cycles after the request; one request per cycle. A written register shows its value,
    and its strobe, 1 cycle after the request.

    Parameters
    ----------
    registers : RegisterMap
        The map; each register lies within one aligned group of 8 octets.

    Members
    -------
    management : ``In(ManagementPort())``
        The processor. Address bits above the map's size are ignored, so that a house need not
        know its own number.
    <name> : ``In(shape)`` for ``ro``, ``Out(shape)`` for ``rw``, ``wo`` and ``rw1c``
        Value of the register of that name, in lower case.
    <name>_write : ``Out(1)`` for ``rw`` and ``wo``
        High for one cycle with the new value.
    <name>_set : ``In(shape)`` for ``rw1c``
        Bits to set; setting wins over clearing.
    """

    def __init__(self, registers):
        self.registers = registers
        members = {"management": In(ManagementPort())}
        for register in registers:
            name = register.name.lower()
            first, last = register.offset // 8, (register.offset + register.octets - 1) // 8
            if first != last:
                raise ValueError(f"{registers.name}.{register.name} must lie within 8 aligned "
                                 f"octets, not at {register.offset:#x}")
            if register.access == "ro":
                members[name] = In(register.shape)
                continue
            members[name] = Out(register.shape)
            if register.access == "rw1c":
                members[f"{name}_set"] = In(register.shape)
            else:
                members[f"{name}_write"] = Out(1)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        requests, replies = self.management.requests, self.management.replies
        word_bits = max(self.registers.size - 1, 8).bit_length() - 3
        word      = Signal(word_bits)
        writes    = Signal()
        written   = Signal(64)
        request_r = Signal()
        m.d.comb += word.eq(requests.p.address[3:])
        m.d.comb += written.eq(requests.p.data)
        m.d.comb += writes.eq(requests.valid & requests.p.write)

        # Values behind the port; the strobes.
        groups = {}
        for register in self.registers:
            groups.setdefault(register.offset // 8, []).append(register)
            self._store(m, register, hit=writes & (word == register.offset // 8), written=written)

        # First stage chooses among eight groups, second stage among the eights: short paths.
        chosen = {}
        known  = Signal()
        m.d.sync += known.eq(0)
        for high in sorted({number // 8 for number in groups}):
            chosen[high] = Signal(64, name=f"chosen_{high}")
            with m.Switch(word[:3]):
                for number in sorted(n for n in groups if n // 8 == high):
                    with m.Case(number % 8):
                        m.d.sync += chosen[high].eq(self._group(groups[number]))
        with m.Switch(word):
            for number, group in groups.items():
                accesses = {register.access for register in group}
                with m.Case(number):
                    m.d.sync += known.eq(Mux(requests.p.write, accesses != {"ro"},
                                             accesses != {"wo"}))
        word_r = Signal.like(word)
        m.d.sync += [request_r.eq(requests.valid), word_r.eq(word)]

        write_r = Signal()
        m.d.sync += write_r.eq(requests.p.write)
        m.d.sync += [replies.valid.eq(request_r), replies.p.error.eq(~known),
                     replies.p.data.eq(0)]
        with m.If(known & ~write_r):
            with m.Switch(word_r[3:]):
                for high, value in chosen.items():
                    with m.Case(high):
                        m.d.sync += replies.p.data.eq(value)

        return m

    def _store(self, m, register, *, hit, written):
        """State of one register, and its strobe."""
        if register.access == "ro":
            return
        name  = register.name.lower()
        value = Value.cast(getattr(self, name))
        low   = register.offset % 8 * 8
        new   = written[low:low + register.width]
        state = Signal(register.width, name=f"{name}_state", init=register.reset)
        m.d.comb += value.eq(state)
        if register.access == "rw1c":
            sets = Value.cast(getattr(self, f"{name}_set"))
            m.d.sync += state.eq(state & ~Mux(hit, new, 0) | sets)
            return
        m.d.sync += getattr(self, f"{name}_write").eq(hit)
        with m.If(hit):
            m.d.sync += state.eq(new)

    def _group(self, registers):
        """What a read of one group of 8 octets sees; ``wo`` registers read 0."""
        parts, position = [], 0
        for register in sorted(registers, key=lambda r: r.offset):
            low = register.offset % 8 * 8
            value = Value.cast(getattr(self, register.name.lower()))
            parts += [Const(0, low - position),
                      Const(0, register.width) if register.access == "wo" else value]
            position = low + register.width
        return Cat(*parts)
