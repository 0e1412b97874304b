"""A real Linux drives the card: each script of ``linux/`` runs in guests that we did not write."""

import os
from pathlib import Path

import pytest

from offloadcard.config import SMALL
from sim.bridge.ethernet import read_pcap
from sim.build import card_simulator
from sim.linux import kernel, needs
from sim.linux.cable import fabric
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


@pytest.mark.thirdparty
@pytest.mark.skipif(bool(MISSING), reason=f"needs: apt install {' '.join(MISSING)}")
def test_two_cards_speak_vxlan_and_repeat(tmp_path):
    """Each frame on their wire is in a tunnel from one to the other; two runs are one."""
    path = tmp_path / "ping.sh"
    path.write_text("#: functions = net0 | net1\n#: cards = 0 1\nnetwork\n"
                    "if [ $GUEST = 0 ]; then await ready; ping -q -c 3 -i 0.01 $(address 1)\n"
                    "tell done; else tell ready; await done; fi\n")
    program, traces = kernel.kernel(), set()
    card_simulator(SMALL)
    for _ in range(2):
        outcome = play(read(path), SMALL, program, out=tmp_path / "out", pcap=tmp_path / "wire")
        assert outcome.codes == (0, 0)
        traces.add((outcome.report["trace"], (tmp_path / "wire").read_bytes()))
    assert len(traces) == 1
    ways = set()
    for _, octets in read_pcap(tmp_path / "wire"):
        ways.add((octets[26:30], octets[30:34]))
        assert octets[23] == 17 and octets[36:38] == (4789).to_bytes(2, "big")  # UDP, VXLAN
        assert int.from_bytes(octets[46:49], "big") == 5001
    ends = [fabric(card).address.packed for card in (0, 1)]
    assert ways == {tuple(ends), tuple(reversed(ends))}


def run(path):
    script = read(path)
    program = kernel.kernel()
    card_simulator(SMALL)  # outside of the script's time
    outcome = play(script, SMALL, program)
    record(script, SMALL, outcome, seed=1)
    said = "\n".join(f"--- guest {guest}\n" + (outcome.out / f"console{guest}").read_text(
        errors="replace")[-4000:] for guest in range(len(outcome.codes)))
    assert outcome.codes == (0,) * len(script.functions), said
