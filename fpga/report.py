"""The table of resources and clock rates."""

import subprocess
import time
from pathlib import Path

from .netlist import read_blif
from .yosys import route, synthesise

__all__ = ["FAMILY", "report"]

# The device that a preset is meant for.
FAMILY = {"model": "xcup", "small": "ecp5", "ecp5": "ecp5", "tiny": "ecp5"}


def _commit():
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root,
                          capture_output=True, text=True)
    return done.stdout.strip() or None


def report(rtlil, *, block, config, work, routes=0, step=lambda text: None):
    """Synthesise ``rtlil`` and say what came of it, as a record for JSON.

    ``routes`` seeds are placed and routed (ECP5 only): the frequencies are a range.
    """
    family = FAMILY[config.name]
    began = time.monotonic()
    step(f"synthesis for {family}")
    netlist_path = synthesise(rtlil, family=family, top="top", work=work)
    step("counting")
    with netlist_path.open() as lines:
        netlist = read_blif(lines, family)
    paths = netlist.paths()
    record = {
        "block": block, "preset": config.name, "functions": config.functions,
        "data_width": config.data_width, "family": family, "commit": _commit(),
        "cells": netlist.counts(), "lut_levels": paths[0][0] if paths else 0,
        "longest_paths": [{"lut_levels": levels, "from": start, "to": end}
                          for levels, start, end in paths],
        "clock_mhz_stated": config.clock_mhz, "clock_mhz_routed": [],
        "wall_s": 0.0,
    }
    for seed in range(1, routes + 1):
        step(f"place and route, seed {seed}")
        record["clock_mhz_routed"].append(route(work, mhz=config.clock_mhz, seed=seed))
    record["wall_s"] = round(time.monotonic() - began, 1)
    return record
