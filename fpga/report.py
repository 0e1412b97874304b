"""The table of resources and clock rates."""

import hashlib
import json
import subprocess
import time
from pathlib import Path

from .netlist import read_blif
from .yosys import recipe, route, synthesise

__all__ = ["FAMILY", "report", "total"]

# The device that a preset is meant for.
FAMILY = {"model": "xcup", "small": "ecp5", "ecp5": "ecp5", "tiny": "ecp5"}


def _commit():
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root,
                          capture_output=True, text=True)
    return done.stdout.strip() or None


def _measured(rtlil, *, family, work):
    """Cells and paths of a design; remembered by its text and the tools' recipe."""
    name  = hashlib.sha256((recipe(family) + rtlil).encode()).hexdigest()[:20]
    cache = Path(work).parent / "cache" / f"{name}.json"
    if cache.exists() and (Path(work) / "top.blif").exists():
        return json.loads(cache.read_text())
    with synthesise(rtlil, family=family, work=work).open() as lines:
        netlist = read_blif(lines, family)
    paths = netlist.paths()
    found = {
        "cells": netlist.counts(), "lut_levels": paths[0][0] if paths else 0,
        "longest_paths": [{"lut_levels": levels, "from": start, "to": end}
                          for levels, start, end in paths],
    }
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps(found))
    return found


def report(rtlil, *, block, config, work, routes=0, step=lambda text: None):
    """Synthesise ``rtlil`` and say what came of it, as a record for JSON.

    ``routes`` seeds are placed and routed (ECP5 only): the frequencies are a range.
    """
    family = FAMILY[config.name]
    began  = time.monotonic()
    step(f"{block}: synthesis for {family}")
    record = {
        "block": block, "preset": config.name, "functions": config.functions,
        "data_width": config.data_width, "family": family, "commit": _commit(),
        **_measured(rtlil, family=family, work=work),
        "clock_mhz_stated": config.clock_mhz, "clock_mhz_routed": [],
    }
    for seed in range(1, routes + 1):
        step(f"{block}: place and route, seed {seed}")
        record["clock_mhz_routed"].append(route(work, mhz=config.clock_mhz, seed=seed))
    record["wall_s"] = round(time.monotonic() - began, 1)
    return record


def total(records, *, block):
    """The record of a whole whose parts were synthesised one by one.

    The card is wiring between parts that begin or end with registers, so its cells are the sum of
    theirs, and its longest path is the longest of theirs.
    """
    first = records[0]
    cells = {name: sum(record["cells"][name] for record in records) for name in first["cells"]}
    paths = [path for record in records for path in record["longest_paths"]]
    return {
        **first, "block": block, "cells": cells,
        "lut_levels": max(record["lut_levels"] for record in records),
        "longest_paths": sorted(paths, key=lambda path: -path["lut_levels"])[:12],
        "wall_s": round(sum(record["wall_s"] for record in records), 1),
        "parts": records,
    }
