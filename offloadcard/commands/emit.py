"""Verilog and RTLIL of any component of the card."""

# Ref: ieee-1800-2017, 4.4 (Stratified event scheduler), 6.8 (Variable declarations),
# 9.2.2.2 (Combinational logic always_comb procedure)

import re

from amaranth.back import rtlil, verilog
from amaranth.hdl import Signal, Value

from .flat import Flat

__all__ = ["awake", "ports_of", "to_verilog", "to_rtlil"]

# A block of one assignment, and the register by which Yosys wants the longer ones to start.
_ONE_LINE = re.compile(r"always @\*(\n +\S[^\n]*=[^\n]*;\n)")
_STARTER  = re.compile(r"^  reg (\\\$auto\$verilog_backend\S+)\s+= 0;", re.M)


def awake(text):
    """Verilog in which every block of one assignment runs, as SystemVerilog's ``always_comb`` does.

    ``always @*`` waits until something that it reads changes: a constant, or what has its value
    from the start, then never arrives. A simulator of four states keeps X, Verilator 0.
    """
    # [ieee-1800-2017: 9.2.2.2]
    return _ONE_LINE.sub(r"always_comb\1", text)


def _started(text):
    """Verilog in which the longer blocks run once at time zero, whatever the simulator.

    They read a register that Yosys declares with its value, which is no event in SystemVerilog; a
    nonblocking assignment is, after all blocks wait for it.
    """
    # [ieee-1800-2017: 4.4.2.4, 6.8]
    return _STARTER.sub(r"  reg \1 ;\n  initial \1 <= 0;", text)


def ports_of(component):
    """The signals of ``component``'s border; constants (the ``ready`` that is always 1) are not."""
    values = (Value.cast(value) for _, _, value in component.signature.flatten(component))
    return [value for value in values if isinstance(value, Signal)]


def to_verilog(component, *, name):
    """SystemVerilog of ``component`` as module ``name``, with the ports of :class:`~.flat.Flat`."""
    flat = component if isinstance(component, Flat) else Flat(component)
    return _started(awake(verilog.convert(
        flat, name=name, ports=[port.signal for port in flat.ports], emit_src=False)))


def to_rtlil(component, *, name):
    """RTLIL of ``component`` as module ``name``, for Yosys."""
    return rtlil.convert(component, name=name, ports=ports_of(component), emit_src=False,
                         platform="synthesis")
