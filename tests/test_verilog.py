"""What ``offloadcard verilog`` writes: its ports, and blocks that run in every simulator."""

import re
from pathlib import Path

from amaranth import Module
from amaranth.hdl import Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from offloadcard.card import Card
from offloadcard.commands.emit import awake, to_verilog
from offloadcard.commands.flat import Flat
from offloadcard.config import SMALL

ROOT  = Path(__file__).resolve().parent.parent
INNER = data.StructLayout({"kind": 3, "octets": data.ArrayLayout(8, 2)})
BEAT  = data.StructLayout({"inner": INNER, "last": 1})


class Swap(wiring.Component):
    """A payload whose parts come from everywhere: a constant, a register, the other side.

    Members
    -------
    i : ``In(stream.Signature(BEAT, always_ready=True))``
        Beats in.
    o : ``Out(stream.Signature(BEAT))``
        Beats out.
    """

    i: In(stream.Signature(BEAT, always_ready=True))
    o: Out(stream.Signature(BEAT))

    def elaborate(self, platform):
        m = Module()
        always = Signal(init=1)
        m.d.sync += always.eq(1)
        m.d.comb += [
            self.o.valid.eq(self.i.valid), self.o.p.last.eq(always),
            self.o.p.inner.kind.eq(5), self.o.p.inner.octets[1].eq(self.i.p.inner.octets[0]),
        ]
        with m.If(self.i.p.last):
            m.d.comb += self.o.p.inner.octets[0].eq(self.i.p.inner.octets[1])
        return m


def test_each_field_is_a_port():
    ports = Flat(Swap()).ports
    assert [(port.name, port.width, port.input) for port in ports] == [
        ("i_inner_kind", 3, True), ("i_inner_octets", 16, True), ("i_last", 1, True),
        ("i_valid", 1, True), ("o_inner_kind", 3, False), ("o_inner_octets", 16, False),
        ("o_last", 1, False), ("o_valid", 1, False), ("o_ready", 1, True)]
    text = to_verilog(Swap(), name="swap")
    for port in ports:
        bits = f"[{port.width - 1}:0] " if port.width > 1 else ""
        assert f"  {'input' if port.input else 'output'} {bits}{port.name};" in text


def test_the_page_has_the_ports_of_the_card():
    assert (ROOT / "docs/verilog.md").read_text().endswith("\n" + Flat(Card(SMALL)).markdown())


def test_no_block_waits_for_what_never_changes():
    text = to_verilog(Swap(), name="swap")
    assert "always_comb" in text
    assert not re.findall(r"always @\*\n +\S[^\n]*=", text)
    assert not re.findall(r"verilog_backend\S+ += 0;", text)
    asleep = "  always @*\n    base[50] = 1'h0;\n"
    assert awake(asleep) == asleep.replace("always @*", "always_comb")
