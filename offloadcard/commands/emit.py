"""Verilog and RTLIL of any component of the card."""

from amaranth.back import rtlil, verilog
from amaranth.hdl import Signal, Value

__all__ = ["ports_of", "to_verilog", "to_rtlil"]


def ports_of(component):
    """The signals of ``component``'s border; constants (the ``ready`` that is always 1) are not."""
    values = (Value.cast(value) for _, _, value in component.signature.flatten(component))
    return [value for value in values if isinstance(value, Signal)]


def to_verilog(component, *, name):
    """Verilog of ``component`` as module ``name``."""
    return verilog.convert(component, name=name, ports=ports_of(component), emit_src=False)


def to_rtlil(component, *, name):
    """RTLIL of ``component`` as module ``name``, for Yosys."""
    return rtlil.convert(component, name=name, ports=ports_of(component), emit_src=False,
                         platform="synthesis")
