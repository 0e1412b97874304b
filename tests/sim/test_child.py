"""A process ends with the one that started it, however that ends: guests, simulators, tools."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

_START = {
    "guest": """
        subprocess.Popen(["sh", "-c", SAY], preexec_fn=die_with_parent).wait()
    """,
    "simulator": """
        program = folder / "program"
        program.write_text("#!/bin/sh\\n" + SAY)
        program.chmod(0o755)
        build.run(build.Simulator(program, "dut", waves=False), "nothing")
    """,
    "tool": """
        build._call("tool", ["sh", "-c", SAY], folder, dict(os.environ))
    """,
}
_PARENT = """
import os, sys
from pathlib import Path
folder = Path(sys.argv[1])
os.environ["OFFLOADCARD_BUILD"] = str(folder)
import subprocess
from sim import build
from sim.bridge.child import die_with_parent
SAY = f"echo $$ > {folder}/id.new; mv {folder}/id.new {folder}/id; exec sleep 60"
"""


def _wait(what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


def _gone(child):
    # Nobody may be there to collect it: then it is a zombie.
    try:
        return (child / "stat").read_text().split()[2] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("signal", ["terminate", "kill"])
@pytest.mark.parametrize("what", _START)
def test_none_outlives_its_parent(what, signal, tmp_path):
    lines = "".join(f"{line.strip()}\n" for line in _START[what].splitlines())
    parent = subprocess.Popen([sys.executable, "-c", _PARENT + lines, tmp_path])
    try:
        assert _wait((tmp_path / "id").exists), "the child must begin"
        child = Path("/proc") / (tmp_path / "id").read_text().strip()
        assert not _gone(child)
    finally:
        getattr(parent, signal)()
        parent.wait()
    assert _wait(lambda: _gone(child), 5), "the child must end with its parent"
