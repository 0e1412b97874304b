"""More functions, more memory, the same logic: the comparison, its page, a block that shows it."""

import json
from dataclasses import replace

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from fpga.area import DOCS, check, growth, page, short
from fpga.report import report
from fpga.rows import memories, pin_rows, structure
from offloadcard.commands import synth
from offloadcard.commands.blocks import PARTS, make_block
from offloadcard.commands.emit import to_rtlil
from offloadcard.commands.errors import CommandError
from offloadcard.config import MODEL, TINY
from offloadcard.pcie.mmio_lane import MmioLane

FEW, MANY = MODEL.with_functions(16), MODEL.with_functions(254)


def lane(config):
    """RTLIL of the way of register accesses, with a row for each function."""
    return to_rtlil(MmioLane(functions=config.functions, writes_depth=8, reads_depth=8,
                             function_id_width=config.function_id_width), name="top")


def record(functions, *, lut=1000, ff=1000, memory=0):
    return {"block": "card", "preset": "model", "functions": functions, "family": "xcup",
            "commit": "0", "rows_pinned": True, "lut_levels": 7,
            "cells": {"lut": lut, "ff": ff, "block_ram": 1, "ultra_ram": 0,
                      "lut_as_memory": memory},
            "longest_paths": [{"lut_levels": 7, "from": ["a"], "to": "FDRE b D"}]}


def test_only_memories_that_grow_are_pinned():
    """The rows are, the queues beside them are not, whatever their width."""
    few, many = lane(FEW), lane(MANY)
    pinned, count = pin_rows(few, many)
    assert count == 1 and pinned.count('attribute \\ram_style "block"') == 1
    assert len(memories(pinned)) == len(memories(many)) >= 3
    assert pinned.replace('  attribute \\ram_style "block"\n', "") == few
    assert pin_rows(few, few)[1] == 0


@pytest.mark.parametrize("name", PARTS)
def test_a_house_has_the_same_parts_at_any_number_of_functions(name):
    """Cells, processes and cases are as many; a register grows by the bits of two ids at most.

    There are tags for all: a pool with fewer slots than functions would grow with them.
    """
    config = replace(TINY, pcie_tags=64)
    few, many = (structure(to_rtlil(make_block(name, config.with_functions(functions)), name="top"))
                 for functions in (8, 64))
    assert few[0] == many[0] and len(few[1]) == len(many[1]) > 10
    assert all(0 <= b - a <= 2 * 3 for a, b in zip(few[1], many[1], strict=True))


class Decoder(wiring.Component):
    """A register for each function, which no house has."""

    def __init__(self, functions):
        self.functions = functions
        super().__init__({"i": In(range(functions)), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        for number in range(self.functions):
            row = Signal(name=f"row{number}")
            with m.If(self.i == number):
                m.d.sync += row.eq(~row)
                m.d.comb += self.o.eq(row)
        return m


def test_a_decoder_by_function_is_seen():
    few, many = (structure(to_rtlil(Decoder(functions), name="top")) for functions in (8, 64))
    assert few[0] != many[0] and len(many[1]) == 64


def test_the_logic_of_a_block_does_not_grow(tmp_path):
    """Synthesised for 16 and 254 functions: identifiers are four bits wider, and that is all."""
    texts = [lane(FEW), lane(MANY)]
    records = []
    for number, config in enumerate((FEW, MANY)):
        text, _ = pin_rows(texts[number], texts[1 - number])
        records.append({**report(text, block="lane", config=config,
                                 work=tmp_path / str(config.functions)), "rows_pinned": True})
    assert check(*records) == []
    assert all(amount < 0.05 for amount in growth(*records))


def test_growing_logic_is_seen():
    """Six per cent are too many, of either kind; memory may grow; unlike things are refused."""
    assert check(record(16), record(254, lut=1040, ff=1049)) == []
    assert check(record(16), record(254, lut=1200, memory=200)) == []
    assert check(record(16), record(254, lut=1060)) == [
        "logic of card must differ by at most 5% from 16 to 254 functions, not by +6.0%"]
    assert check(record(16), record(254, ff=940)) == [
        "flip-flops of card must differ by at most 5% from 16 to 254 functions, not by -6.0%"]
    assert check({**record(16), "preset": "tiny"}, record(254)) == [
        "`preset` must be the same in both, not 'tiny' and 'model'"]


def test_the_command_stops_when_logic_grows(tmp_path):
    few = tmp_path / "few.json"
    few.write_text(json.dumps(record(16)))
    synth._compare(record(254, lut=1010, memory=10), synth._read(few))
    with pytest.raises(CommandError, match=r"logic of card must differ by at most 5%"):
        synth._compare(record(254, lut=1100), synth._read(few))
    with pytest.raises(CommandError, match="must be a record of synth, not missing"):
        synth._read(tmp_path / "none.json")


def test_the_page_is_that_of_its_records():
    """Regenerate it by ``python -m fpga.area``; the whole card holds the limit."""
    few, many = json.loads((DOCS / "area.json").read_text())
    assert page(few, many) == (DOCS / "area.md").read_text()
    assert check(few, many) == [] and short(many) == many
    assert len(many["parts"]) == 6 and many["functions"] == 254 and few["functions"] == 16
