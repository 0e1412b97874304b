"""Levels of logic that a leaf once had too many of, on a netlist of the leaf alone."""

from fpga.report import report
from offloadcard.commands.emit import to_rtlil
from offloadcard.config import MODEL
from offloadcard.pcie.config_pf import PfRegisters

LEVELS = 7  # of look-up tables between registers, at the most


def test_the_registers_of_a_physical_function_are_shallow(tmp_path):
    leaf = PfRegisters(total_vfs=126, first_vf_offset=2, has_ari=True, function_id_width=8)
    record = report(to_rtlil(leaf, name="top"), block="leaf", config=MODEL,
                    work=tmp_path / "leaf")
    assert record["lut_levels"] <= LEVELS, record["longest_paths"][0]
