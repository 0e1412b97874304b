"""A component with a port for each field, as people who read Verilog expect it."""

import inspect
import re
from typing import NamedTuple

from amaranth.hdl import Cat, Const, Elaboratable, Module, Shape, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In

__all__ = ["FlatPort", "Flat"]


class FlatPort(NamedTuple):
    """A port of :class:`Flat`. ``member`` is the component's member that it belongs to."""
    name:   str
    signal: Signal
    input:  bool
    member: str

    @property
    def width(self):
        """Width in bits."""
        return len(self.signal)


def _fields(shape, name):
    """Names and widths of the fields of ``shape``, lowest bit first; arrays stay whole."""
    layout = shape.as_shape() if isinstance(shape, type) else shape
    if not isinstance(layout, data.StructLayout):
        return [(name, Shape.cast(shape).width)]
    return [found for key, field in layout for found in _fields(field.shape, f"{name}_{key}")]


class Flat(Elaboratable):
    """Wrap ``component``: its structures become ports ``member_field``, its streams' payloads too.

    Arrays are one vector, element 0 in its lowest bits. ``valid`` and ``ready`` of a stream keep
    their names; what is constant (``ready`` of a stream that is always ready) is no port.

    Attributes
    ----------
    ports : list of FlatPort
        In the order of the component's signature.
    """

    def __init__(self, component):
        self.component = component
        self.ports = []
        self._wires = []
        for path, member, value in component.signature.flatten(component):
            if isinstance(Value.cast(value), Const):
                continue
            parts  = [str(part) for part in path]
            if parts[-1] == "payload" and len(_fields(member.shape, "")) > 1:
                parts.pop()
            ports = [FlatPort(name, Signal(width, name=name), member.flow is In, str(path[0]))
                     for name, width in _fields(member.shape, "_".join(parts)) if width]
            self.ports += ports
            self._wires.append((Value.cast(value), Cat(port.signal for port in ports),
                                member.flow is In))
        names = [port.name for port in self.ports]
        assert len(names) == len(set(names)), "two fields of one name"

    def elaborate(self, platform):
        m = Module()
        m.submodules.card = self.component
        for value, outside, into in self._wires:
            m.d.comb += value.eq(outside) if into else outside.eq(value)
        return m

    def markdown(self):
        """The ports as a table: a row for each member and direction, widths in bits."""
        said = _members(type(self.component))
        rows = {}
        for port in self.ports:
            rows.setdefault((port.member, port.input), []).append(f"`{port.name}` {port.width}")
        lines = ["| member | direction | ports and their bits | |", "|---|---|---|---|"]
        lines += [f"| {member} | {'in' if into else 'out'} | {', '.join(ports)} | "
                  f"{said.get(member, '')} |" for (member, into), ports in rows.items()]
        return "\n".join([*lines, ""])


def _members(kind):
    """Sentence of each member, from the part *Members* of a component's docstring."""
    _, _, text = (inspect.getdoc(kind) or "").partition("Members\n-------\n")
    said = {}
    for names, body in re.findall(r"^(\w[^\n]*?) : [^\n]*\n((?:    [^\n]*\n?|\n)+)", text, re.M):
        said.update({name.strip(): " ".join(body.split()) for name in names.split(",")})
    return said
