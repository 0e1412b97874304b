"""A guest's process ends with the simulator that started it, however that ends."""

import subprocess
import sys
import time
from pathlib import Path

_PARENT = """
import subprocess, time
from sim.bridge.child import die_with_parent
print(subprocess.Popen(["sleep", "60"], preexec_fn=die_with_parent).pid, flush=True)
time.sleep(60)
"""


def test_no_guest_outlives_its_simulator():
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True)
    child = Path("/proc") / parent.stdout.readline().strip()
    assert child.exists()
    parent.kill()
    parent.wait()
    for _ in range(100):
        # Nobody may be there to collect it: then it is a zombie.
        if not child.exists() or (child / "stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("the child must end with its parent")
