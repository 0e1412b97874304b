"""The emitted SystemVerilog under simulators that know nothing of us, driven by SystemVerilog."""

import shutil
import subprocess
from pathlib import Path

import pytest

from offloadcard.card import Card
from offloadcard.commands.emit import to_verilog
from offloadcard.config import TINY
from sim.build import tools

ROOT = Path(__file__).resolve().parent.parent.parent
SAID = """\
01:00.0 vendor 1af4 device 1041 class 020000
01:00.1 vendor 0fcd device 4e56 class 010802
BAR 0 of 01:00.1: 65536 octets
NVMe 1.4
ready
model OffloadCardNVMe, serial OFFLOADCARD-0001
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    card = tmp_path_factory.mktemp("verilog") / "card.sv"
    card.write_text(to_verilog(Card(TINY), name="card"))
    return card, ROOT / "sim/verilog/identify.sv"


@pytest.mark.thirdparty
@pytest.mark.skipif(shutil.which("iverilog") is None,
                    reason="iverilog must be installed: apt-get install iverilog")
def test_icarus_reads_identify(sources, tmp_path):
    """Four states: what has no value stays X, and would be seen."""
    subprocess.run(["iverilog", "-g2012", "-s", "identify", "-o", tmp_path / "identify",
                    *sources], check=True, capture_output=True)
    done = subprocess.run([tmp_path / "identify"], check=True, capture_output=True, text=True)
    assert done.stdout == SAID


@pytest.mark.thirdparty
def test_verilator_reads_identify(sources, tmp_path):
    subprocess.run(["verilator", "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-Wno-style",
                    "-O1", "-CFLAGS", "-std=c++20 -O0", "-j", "2", "--top-module", "identify",
                    "--Mdir", tmp_path, *sources], check=True, capture_output=True, env=tools())
    done = subprocess.run([tmp_path / "Videntify"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(SAID)
