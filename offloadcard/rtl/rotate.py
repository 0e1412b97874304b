"""Octets move between lanes: a rotator in stages of one multiplexer each."""

from amaranth import *

__all__ = ["rotate_left"]


def rotate_left(m, value, amount, *, name):
    """``value`` (a flat value of ``8 * 2**len(amount)`` bits) moved up by ``amount`` octet lanes.

    Octet 0 of ``value`` lands in lane ``amount``; octets that leave at the top come in at the
    bottom. One stage of logic per bit of ``amount``, each with a Signal of its own, so that the
    Verilog stays linear in the width. Rotate by ``-amount`` to move down.
    """
    lanes = 1 << len(amount)
    if len(value) != 8 * lanes:
        raise ValueError(f"`value` must be {8 * lanes} bits wide, not {len(value)}")
    for bit in range(len(amount)):
        stage = Signal(8 * lanes, name=f"{name}_{bit}")
        m.d.comb += stage.eq(Mux(amount[bit], value.rotate_left(8 << bit), value))
        value = stage
    return value
