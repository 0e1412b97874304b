"""A real Linux drives the card: each script of ``linux/`` runs in guests that we did not write."""

import os
from pathlib import Path

import pytest

from offloadcard.config import SMALL
from sim.build import card_simulator
from sim.linux import kernel, needs
from sim.linux.play import play, record
from sim.linux.script import read

SCRIPTS = sorted((Path(__file__).parent / "linux").glob("*.sh"))
LONG    = sorted((Path(__file__).parent / "linux/long").glob("*.sh"))
MISSING = needs.missing((*needs.KERNEL, *needs.GUEST)) + (
    [] if kernel.DEFAULT in kernel.available() else [f"linux-source-{kernel.DEFAULT}"])


@pytest.mark.thirdparty
@pytest.mark.skipif(bool(MISSING), reason=f"needs: apt install {' '.join(MISSING)}")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script(path):
    """The script ends with 0 in every guest; its figures are kept in ``build/linux``."""
    run(path)


@pytest.mark.thirdparty
@pytest.mark.skipif(bool(MISSING), reason=f"needs: apt install {' '.join(MISSING)}")
@pytest.mark.skipif("OFFLOADCARD_LONG" not in os.environ, reason="make soak runs it")
@pytest.mark.parametrize("path", LONG, ids=lambda path: path.stem)
def test_long_script(path):
    """The same for those that take much longer."""
    run(path)


def run(path):
    script = read(path)
    program = kernel.kernel()
    card_simulator(SMALL)  # outside of the script's time
    outcome = play(script, SMALL, program)
    record(script, SMALL, outcome, seed=1)
    said = "\n".join(f"--- guest {guest}\n" + (outcome.out / f"console{guest}").read_text(
        errors="replace")[-4000:] for guest in range(len(outcome.codes)))
    assert outcome.codes == (0,) * len(script.functions), said
