"""Building simulators: compact memories, cached results, clear refusals."""

from types import SimpleNamespace

import pytest
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from offloadcard.rtl.ports import packet_beat
from sim import build
from sim.link import shim


class Accumulator(wiring.Component):
    """A sum, and a memory behind it: enough to be built."""

    i: In(8)
    o: Out(8)
    last: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=8, depth=64, init=[5, 0, 7])
        read, write = memory.read_port(), memory.write_port()
        m.d.sync += self.o.eq(self.o + self.i)
        m.d.comb += [read.addr.eq(2), self.last.eq(read.data), write.addr.eq(self.o),
                     write.data.eq(self.i), write.en.eq(0)]
        return m


def test_rows_of_zero_become_one_loop():
    text = build.emit(Accumulator())
    assert text.count("= 8'h00;\n") < 10 and "for (int row = 0; row <= 63; row++)" in text
    # What is not zero stands after the loop, and wins, the first row too.
    for value in ("8'h05", "8'h07"):
        assert text.index("for (int row") < text.index(value)


def test_compact_leaves_other_lines_alone():
    text = "module a;\n  initial begin\n    x[0] = 8'h01;\n    x[1] = 8'h02;\n  end\nendmodule\n"
    assert build.compact(text) == text


def test_compact_knows_a_bit_from_a_row():
    text = ("module a;\n  always @* begin\n    x [2] = 1'h0;\n  end\n  initial begin\n"
            "    y[0] = 8'h00;\n    y[1] = 8'h00;\n  end\nendmodule\n")
    assert build.compact(text) == (
        "module a;\n  always @* begin\n    x [2] = 1'h0;\n  end\n  initial begin\n"
        "    for (int row = 0; row <= 1; row++) y [row] = '0;\n  end\nendmodule\n")


def test_ports_are_what_verilog_has():
    class Pipe(wiring.Component):
        i: In(stream.Signature(8, always_ready=True))
        o: Out(stream.Signature(8))
    names = [port.name for port in shim.ports_of(Pipe())]
    assert names == ["i__payload", "i__valid", "o__payload", "o__valid", "o__ready"]


def test_layouts_follow_amaranth():
    shape = packet_beat(data_width=512, function_id_width=8)
    fields = shim.fields_of(shape)
    assert fields["data"] == (0, 512)
    assert fields["meta_length"] == (512 + 8, 14)
    assert fields["last"][0] == shape["last"].offset


def test_a_stream_of_another_shape_is_refused():
    port = shim.Port("wire_tx__payload", packet_beat(data_width=64, function_id_width=2), 1, False,
                     None)
    with pytest.raises(ValueError, match="valid_bytes"):
        shim.write_layouts([port])


def test_a_failed_tool_is_named(tmp_path):
    with pytest.raises(build.BuildError, match="make failed"):
        build._call("make", ["make", "-C", "nowhere"], tmp_path, build.tools())


def test_no_test_is_a_failure(tmp_path):
    (tmp_path / "results.xml").write_text("<testsuites><testsuite/></testsuites>")
    assert build._failures(tmp_path / "results.xml") == ["no tests"]
    assert build._failures(tmp_path / "missing.xml") == ["no results"]


def test_waves_must_be_built_in():
    made = SimpleNamespace(path="x", top="shim", waves=False)
    with pytest.raises(ValueError, match="built with waves"):
        build.run(made, "tests.sim.cocotb_build", waves="x.fst")


@pytest.mark.system
def test_a_house_alone(tmp_path):
    made = build.simulator(Accumulator, "accumulator", key="1", sources=[__file__], link=False,
                           waves=True)
    waves = tmp_path / "waves.fst"
    report = build.run(made, "tests.sim.cocotb_build", arguments={"step": 3}, waves=waves)
    assert report == {"sum": 30, "row": 7}
    assert waves.stat().st_size > 100
    # The second time nothing is made.
    def must_not(*_):
        raise AssertionError("it was made already")
    again = build.simulator(must_not, "accumulator", key="1", sources=[__file__], link=False,
                            waves=True, say=must_not)
    assert again.path == made.path


@pytest.mark.system
def test_a_failing_test_says_so():
    made = build.simulator(Accumulator, "accumulator", key="1", sources=[__file__], link=False,
                           waves=True)
    with pytest.raises(build.RunError, match="the sum must be 31"):
        build.run(made, "tests.sim.cocotb_build", arguments={"step": 3, "expect": 31})
