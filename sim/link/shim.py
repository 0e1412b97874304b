"""Writes the shim: SystemVerilog around a card, and the C++ view of its payloads' layouts.

The shim holds the card and calls compiled code (DPI-C): one tick a clock, and one call for each
beat that moves. All is generated from the component's signature, so the packed layouts follow
Amaranth's. A component that lacks some of the card's streams is as welcome; ports that the shim
does not know become variables of the shim that cocotb may read and write.
"""

from typing import NamedTuple

from amaranth.hdl import Const, Shape, Value
from amaranth.lib import data
from amaranth.lib.wiring import In

__all__ = ["Port", "ports_of", "fields_of", "write_shim", "write_layouts", "TO_CARD", "FROM_CARD"]

# Streams by name, at the bit of the tick's answer (shim.cpp).
TO_CARD = {"rx_requests": 0, "rx_completions": 1, "wire_rx": 2, "inject": 3, "dram__beats": 4,
           "dram__answers": 5, "management__requests": 6}
FROM_CARD = {"tx_reads": 8, "tx_writes": 9, "tx_completions": 10, "wire_tx": 11, "exceptions": 12,
             "dram__reads": 13, "dram__writes": 14, "management__replies": 15}
LEVELS = ("tx_credit_limit", "rx_credit_allocated")

# Fields that the compiled code names, for streams which a component does not have.
_TLP = ("header", "data", "first", "last", "error")
_CREDITS = tuple(f"{kind}_{part}" for kind in ("ph", "pd", "nph", "npd", "cplh", "cpld")
                 for part in ("count", "infinite"))
_NEEDED = {
    **{name: _TLP for name in ("rx_requests", "rx_completions", "tx_reads", "tx_writes",
                               "tx_completions")},
    **{name: ("data", "valid_bytes", "first", "last", "error") for name in ("wire_rx", "wire_tx")},
    **{name: ("data", "meta", "meta_length", "first", "last", "error")
       for name in ("inject", "exceptions")},
    "dram__reads": ("address", "length", "lane", "function_id", "tag"),
    "dram__beats": ("data", "strobe", "function_id", "tag", "first", "last", "error"),
    "dram__writes": ("data", "address", "length", "function_id", "tag", "first", "last"),
    "dram__answers": ("function_id", "tag", "error"),
    "management__requests": ("address", "write", "data"),
    "management__replies": ("data", "error"),
    "tx_credit_limit": _CREDITS, "rx_credit_allocated": _CREDITS,
}


class Port(NamedTuple):
    """A port of the emitted Verilog module."""
    name:  str
    shape: object
    width: int
    input: bool
    value: object


def ports_of(component):
    """The ports of a component, as Amaranth names them in Verilog; constants are no ports."""
    ports = []
    for path, member, value in component.signature.flatten(component):
        value = Value.cast(value)
        width = Shape.cast(member.shape).width
        if width and not isinstance(value, Const):  # as `ready` of an always ready stream
            name = "__".join(str(part) for part in path)
            ports.append(Port(name, member.shape, width, member.flow is In, value))
    return ports


def fields_of(shape, prefix=""):
    """Every field of a layout, and of the layouts inside, as ``name: (offset, width)``."""
    layout = shape.as_shape() if isinstance(shape, type) else shape
    found = {}
    if not isinstance(layout, data.StructLayout):
        return found
    for name, field in layout:
        found[f"{prefix}{name}"] = (field.offset, field.width)
        inner = fields_of(field.shape, f"{prefix}{name}_")
        found.update({key: (offset + field.offset, width)
                      for key, (offset, width) in inner.items()})
    return found


def write_layouts(ports):
    """The C++ header that names offset and width of every field of every known stream."""
    by_name = {port.name: port for port in ports}
    lines = ["// Generated from the component's signature.", "#pragma once", "",
             "namespace layout {", ""]
    for name, needed in _NEEDED.items():
        port = by_name.get(name if name in LEVELS else f"{name}__payload")
        fields = fields_of(port.shape) if port else {}
        missing = [field for field in needed if port and field not in fields]
        if missing:
            raise ValueError(f"`{name}` must have the fields {', '.join(needed)}, "
                             f"not lack {', '.join(missing)}")
        lines.append(f"struct {name.replace('__', '_')} {{")
        lines.append(f"    static constexpr unsigned width = {port.width if port else 1};")
        for field in {**dict.fromkeys(needed, (0, 0)), **fields}:
            offset, width = fields.get(field, (0, 0))
            lines.append(f"    static constexpr unsigned {field} = {offset}, "
                         f"{field}_width = {width};")
        lines += ["};", ""]
    return "\n".join([*lines, "}  // namespace layout", ""])


def write_shim(ports, *, card="card"):
    """The SystemVerilog module ``shim`` around the module ``card``."""
    by_name = {port.name: port for port in ports}
    has = by_name.__contains__
    declare, connect, imports, reset, puts, gets = [], [], [], [], [], []

    def vector(width):
        return f"[{width - 1}:0]"

    for port in ports:
        declare.append(f"  logic {vector(port.width)} {port.name};")
        connect.append(f"    .{port.name}({port.name})")
    for name in FROM_CARD:
        if not has(f"{name}__valid"):
            continue
        call, width = f"oc_put_{name.replace('__', '_')}", by_name[f"{name}__payload"].width
        imports.append(f'  import "DPI-C" function void {call}(input bit {vector(width)} beat);')
        ready = f" && {name}__ready" if has(f"{name}__ready") else ""
        puts.append(f"      if ({name}__valid{ready}) {call}({name}__payload);")
    free, taken = [], []
    for name, bit in TO_CARD.items():
        if not has(f"{name}__valid"):
            continue
        call, width = f"oc_get_{name.replace('__', '_')}", by_name[f"{name}__payload"].width
        imports.append(f'  import "DPI-C" function void {call}(output bit {vector(width)} beat);')
        declare.append(f"  bit {vector(width)} beat_of_{name};")
        ready = f"{name}__ready" if has(f"{name}__ready") else "1'b1"
        free.append(f"(32'(!{name}__valid || {ready}) << {bit})")
        reset.append(f"      {name}__valid <= 1'b0;")
        taken.append(f"      if (!{name}__valid || {ready}) begin\n"
                     f"        {name}__valid <= answer[{bit}];\n"
                     f"        if (answer[{bit}]) begin\n"
                     f"          {call}(beat_of_{name});\n"
                     f"          {name}__payload <= beat_of_{name};\n"
                     f"        end\n"
                     f"      end")
    for name, bit in FROM_CARD.items():
        if has(f"{name}__ready"):
            reset.append(f"      {name}__ready <= 1'b0;")
            gets.append(f"      {name}__ready <= answer[{bit}];")
    if has("tx_credit_limit"):
        width = by_name["tx_credit_limit"].width
        imports.append('  import "DPI-C" function void oc_get_tx_credit_limit('
                       f"output bit {vector(width)} credits);")
        declare.append(f"  bit {vector(width)} credits;")
        reset.append("      tx_credit_limit <= '0;")
        gets.append("      if (answer[16]) begin\n        oc_get_tx_credit_limit(credits);\n"
                    "        tx_credit_limit <= credits;\n      end")
    if has("rx_credit_allocated"):
        width = by_name["rx_credit_allocated"].width
        imports.append('  import "DPI-C" function void oc_put_rx_credit_allocated('
                       f"input bit {vector(width)} credits);")
        declare += [f"  logic {vector(width)} allocated_r;", "  logic was_up;"]
        reset.append("      was_up <= 1'b0;")
        puts.append("      allocated_r <= rx_credit_allocated;\n      was_up <= answer[17];\n"
                    "      if (rx_credit_allocated != allocated_r || !was_up)\n"
                    "        oc_put_rx_credit_allocated(rx_credit_allocated);")
    if has("busy"):
        free.append("(32'(busy) << 31)")
    if has("link_up"):
        reset.append("      link_up <= 1'b0;")
        gets.append("      link_up <= answer[17];")
    lines = [
        "// Generated by sim.link.shim from the component's signature.",
        "module shim;", *imports,
        '  import "DPI-C" function int unsigned oc_tick(input int unsigned free);',
        "  logic clk, rst, wake;", "  int unsigned answer;", *declare, "",
        # What can be written from outside is followed at every edge by all that depends on it.
        "  logic reset = 1'b1;", "  always @(posedge clk) reset <= rst;", "",
        f"  {card} {card} (", ",\n".join(["    .clk(clk)", "    .rst(reset)", *connect]), "  );",
        "", "  always @(posedge clk) begin", "    if (reset) begin", "      wake <= 1'b0;",
        "      answer = 0;", *reset, "    end else begin", *puts,
        f"      answer = oc_tick({' | '.join(free) or '0'});", *taken, *gets,
        "      wake <= answer[18];", "    end", "  end", "endmodule", ""]
    return "\n".join(lines)


def public_names(ports):
    """Variables of the shim that cocotb sees."""
    known = set(LEVELS) | {"link_up"}
    streams = (*TO_CARD, *FROM_CARD)
    loose = [port.name for port in ports if port.name not in known
             and not any(port.name.startswith(f"{name}__") for name in streams)]
    return ["clk", "rst", "wake", *loose]
