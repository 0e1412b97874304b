"""The body of ``offloadcard bench``: no options parsing here."""

import json
from difflib import get_close_matches
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from offloadcard.config import PRESETS

from ..link.config import LINKS
from .catalog import CATALOG, UNITS, rate_of
from .run import run_scenario

__all__ = ["run", "list_scenarios"]


def _check(name, value, known):
    if value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}, not {value!r}")


def list_scenarios(console=None):
    """Print what there is to measure."""
    table = Table("scenario", "measures", "operations", "who stands there now")
    for scenario in CATALOG.values():
        table.add_row(scenario.name, scenario.title, str(scenario.packets), scenario.peer)
    (console or Console()).print(table)


def _value(number, unit=""):
    return "" if number is None else f"{number:.2f}{unit}"


def _row(record):
    metrics, bound = record["metrics"], record["bound"]
    rate = rate_of(metrics)
    if "attack" in metrics:
        left = metrics["beside"]
        return (record["scenario"], ", ".join(
            f"{way} {left[way]['share']:.0%}" for way in ("transmit", "receive", "read")), "", "",
            "", _value(metrics["latency_ns"]["p50"]), _value(metrics["latency_ns"]["p99"]), "",
            f"{record['sim']['cycles_per_s']:,.0f}")
    unit = next((f" {unit}" for key, unit in UNITS.items() if metrics.get(key)), "")
    limit = f"{bound['value']:.2f} ({bound['by']})" if bound else ""
    efficiency = record["efficiency"]
    return (record["scenario"], _value(rate, unit) if rate else "", _value(metrics["gbps"]),
            limit, f"{efficiency:.0%}" if efficiency else "",
            _value(metrics["latency_ns"]["p50"]), _value(metrics["latency_ns"]["p99"]),
            f"{metrics['pcie_bytes_up']:.1f} / {metrics['pcie_bytes_down']:.1f}",
            f"{record['sim']['cycles_per_s']:,.0f}" if record["sim"]["cycles_per_s"] else "")


def run(scenarios=(), preset="model", link="gen3x16", host_latency_ns=None, packets=None, seed=1,
        json_path=None, *, attackers=None, options=None, waves=None, console=None):
    """Measures scenarios (all bursts without names); prints, returns and writes the records.

    ``ValueError`` in one line for what cannot be asked.
    """
    scenarios = list(scenarios) or [
        name for name, scenario in CATALOG.items() if scenario.burst]
    for name in scenarios:
        if name not in CATALOG:
            near = get_close_matches(name, CATALOG, n=3)
            raise ValueError(f"`scenario` must be one that `--list` names, not {name!r}"
                             + f" (near: {', '.join(near)})" * bool(near))
    _check("preset", preset, PRESETS)
    _check("link", link, LINKS)
    if packets is not None and packets < 64:
        raise ValueError(f"`packets` must be 64 or more, not {packets!r}")
    most = PRESETS[preset].virtio_net_vfs + PRESETS[preset].nvme_vfs - 2  # fewer for most attacks
    if attackers is not None and not 1 <= attackers <= most:
        raise ValueError(f"`attackers` must be 1 to {most}, not {attackers!r}")
    options = dict(options or {})
    if host_latency_ns is not None:
        if host_latency_ns < 0:
            raise ValueError(f"`host_latency_ns` must not be negative, not {host_latency_ns!r}")
        options["host_latency_ns"] = host_latency_ns
    console, records = console or Console(), []
    if not console.is_terminal:
        console.width = max(console.width, 140)  # a log may be wide
    table = Table("scenario", "rate", "Gb/s", "bound (by)", "of it", "p50 ns", "p99 ns",
                  "octets up / down", "clocks/CPU s",
                  title=f"{preset}, {PRESETS[preset].clock_mhz} MHz, {link}; the card in simulated "
                        "cycles at the stated clock")
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
                  TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=len(scenarios))
        for name in scenarios:
            attacked = attackers and CATALOG[name].kind == "interference"
            record = run_scenario(
                name, preset=preset, link=link, options=options, packets=packets, seed=seed,
                change={"queues": attackers} if attacked else None,
                waves=waves, say=lambda step, name=name: progress.update(
                    task, description=f"{name}: {step}"))
            records.append(record)
            table.add_row(*_row(record))
            progress.advance(task)
    console.print(table)
    if json_path is not None:
        path = Path(json_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records, indent=1) + "\n")
    return records
