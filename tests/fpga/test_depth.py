"""Levels of logic that a leaf once had too many of, on a netlist of the leaf alone."""

import pytest

from fpga.report import report
from offloadcard.commands.emit import to_rtlil
from offloadcard.config import MODEL
from offloadcard.nvme_emul.pages import PageWriter
from offloadcard.nvme_emul.submission import Submission
from offloadcard.pcie.config_pf import PfRegisters

LEVELS = 7  # of look-up tables between registers, at the most

QUEUE = {"function_id_width": 8, "qid_width": 5}
LEAVES = {
    "registers of a physical function": lambda: PfRegisters(
        total_vfs=126, first_vf_offset=2, has_ari=True, function_id_width=8),
    "visits to queues": lambda: Submission(
        queues=17, slots=256, cap=64, functions=127, fetches=64, count_width=16, **QUEUE),
    "pages of the admin engine": lambda: PageWriter(
        function_id_width=8, data_width=512, mdts=5),
}


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_is_shallow(name, tmp_path):
    record = report(to_rtlil(LEAVES[name](), name="top"), block="leaf", config=MODEL,
                    work=tmp_path / "leaf")
    assert record["lut_levels"] <= LEVELS, record["longest_paths"][0]
