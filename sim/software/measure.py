"""Measuring real software: CPU seconds of one thread, five runs, and how quiet the machine was.

A figure is operations per second that the measured thread was on a core; what it waited for a core
is told beside it. A measurement that cannot be made is skipped with a reason, never guessed.
"""

import os
import platform
import statistics
import time
from pathlib import Path

__all__ = ["Skip", "REPEATS", "machine", "threads", "on_cpu", "busy_of", "figure", "skipped",
           "last_core", "wait_for"]

REPEATS = 5
NOISY_RANGE, NOISY_WAIT = 0.25, 0.05  # of the median, of the time


class Skip(Exception):
    """The machine does not offer what a measurement needs; ``install`` is the line that gets it."""

    def __init__(self, reason, install=""):
        super().__init__(reason)
        self.install = install


def machine():
    """What the figures were measured on."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = {line.split(":", 1)[1].strip() for line in text.splitlines()
              if line.startswith("model name")}
    return {"cpu": ", ".join(sorted(models)), "cores": os.cpu_count(),
            "kernel": platform.release(), "load": os.getloadavg()[0],
            "virtual": "hypervisor" in text.split("flags", 1)[-1].split("\n", 1)[0]}


def last_core():
    """The core that is measured on: the last that this process may use."""
    return max(os.sched_getaffinity(0))


def threads(pid, start=""):
    """Thread ids of a process whose names begin with ``start``."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith(start):
            found.append(int(task.name))
    return found


def on_cpu(pid, tid):
    """``(on a core, waiting for one)`` of a thread so far, in seconds."""
    run, wait, _ = Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()
    return int(run) / 1e9, int(wait) / 1e9


def busy_of(before, after):
    """``(seconds on a core, share of waiting)`` between two readings."""
    run, wait = (b - a for a, b in zip(before, after))
    return run, wait / (run + wait) if run + wait else 0.0


def figure(name, title, unit, runs, *, waits, versions, **more):
    """A result: median and range of ``runs``, noisy or not."""
    middle = statistics.median(runs)
    spread = (max(runs) - min(runs)) / middle if middle else 0.0
    return {"name": name, "title": title, "unit": unit, "value": middle, "low": min(runs),
            "high": max(runs), "runs": list(runs), "wait": max(waits, default=0.0),
            "noisy": spread > NOISY_RANGE or max(waits, default=0.0) > NOISY_WAIT,
            "versions": versions, "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **more}


def skipped(name, title, skip):
    """A gap, with its reason."""
    return {"name": name, "title": title, "skipped": str(skip), "install": skip.install}


def wait_for(condition, what, timeout_s=30, every_s=0.1):
    """Wait until ``condition()``; :class:`Skip` names what did not come."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise Skip(f"{what} did not come within {timeout_s} s")
        time.sleep(every_s)
