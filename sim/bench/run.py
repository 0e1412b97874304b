"""Runs scenarios and makes records of them: every number comes from the run that it names."""

import subprocess
from dataclasses import asdict, replace
from pathlib import Path

from offloadcard.config import PRESETS

from .. import build
from ..link.config import LINKS
from .account import batches_of, closed_form, dllps_of
from .bound import bound_of
from .catalog import CATALOG

__all__ = ["run_scenario", "record_of", "commit"]

ROOT = Path(__file__).resolve().parents[2]


def commit():
    """The commit that is checked out, with ``+`` if files differ from it; empty without git."""
    try:
        done = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, text=True,
                              capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def run_scenario(name, *, preset="model", link="gen3x16", options=None, packets=None, seed=1,
                 waves=None, say=None, change=None):
    """Measures one scenario; returns its record (:func:`record_of`).

    ``options`` are parameters of :class:`~sim.link.config.LinkConfig` that differ from ``link``'s,
    ``change`` those of the scenario: octets, queues, depth.
    """
    scenario, config, options = CATALOG[name], PRESETS[preset], options or {}
    scenario = replace(scenario, **(change or {}))
    made = build.card_simulator(config, waves=waves is not None, say=say)
    if say:
        say("simulation")
    raw = build.run(made, "sim.bench.measure", waves=waves, timeout_s=3600, arguments={
        "scenario": name, "preset": preset, "link": link, "options": options,
        "packets": packets, "seed": seed, "change": change or {}})
    return record_of(scenario, config, replace(LINKS[link], seed=seed, **options), link, raw)


def link_used(metrics, rate, link):
    """Shares ``{"up", "down"}`` of the link's raw octets that the run moved at its rate."""
    return {way: rate * metrics[f"pcie_bytes_{way}"] / 1000 / link.octets_per_ns
            for way in ("up", "down")}


def record_of(scenario, config, link, link_name, raw):
    """The record of a run, in the form that `bench --json` writes."""
    operations, slope, traffic = raw["operations"], raw["slope_ns"], raw["traffic"]
    rate = 1000 / slope if slope else None
    metrics = {
        "mpps": rate if scenario.unit == "mpps" else None,
        "miops": rate if scenario.unit == "miops" else None,
        **({scenario.unit: rate} if scenario.unit in ("mcps", "mops") else {}),
        "gbps": (8 * scenario.octets * rate / 1000 if rate and scenario.unit in ("mpps", "miops")
                 else None),
        "cycles_per_op": slope / config.ns_per_cycle if slope else None,
        "latency_ns": raw["latency_ns"],
        "pcie_bytes_up": raw["octets_up"] / operations,
        "pcie_bytes_down": raw["octets_down"] / operations,
        **raw.get("extra", {}),
    }
    bound, efficiency = {}, None
    if slope:
        limit = bound_of(scenario, config, link, dllps=dllps_of(traffic, operations),
                         drives=raw.get("extra", {}).get("drive_operations", 0) / operations)
        bound = {"value": limit.value, "by": limit.by, "limits": limit.limits,
                 "pcie_bytes_up": limit.up, "pcie_bytes_down": limit.down,
                 "link_used": link_used(metrics, rate, link)}
        efficiency = rate / limit.value
    return {
        "scenario": scenario.name,
        "asked": {key: getattr(scenario, key) for key in ("octets", "queues", "depth", "order")},
        "config": asdict(config), "link": {"name": link_name,
                                                                      **asdict(link)},
        "seed": link.seed, "commit": commit(), "operations": operations, "metrics": metrics,
        "bound": bound, "efficiency": efficiency,
        "ledger": {
            "residue": raw["residue"],
            "closed_form": closed_form(traffic, (raw["octets_up"], raw["octets_down"])),
            "batches": batches_of(traffic, operations), "traffic": traffic,
            "per_operation": {name: [row[way] / operations for way in ("up", "down")]
                              for name, row in sorted(traffic.items())},
        },
        "sim": {"clock_mhz": config.clock_mhz, "cycles": raw["cycles"], "wall_s": raw["wall_s"],
                "cpu_s": raw["cpu_s"],
                "cycles_per_s": raw["cycles"] / raw["cpu_s"] if raw["cpu_s"] else None},
    }
