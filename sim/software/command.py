"""The body of ``offloadcard baseline``: tiers of real software, by what this machine offers."""

import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from . import kvm, ovs, qemu, vhost, xdp
from .measure import Skip, machine, skipped

__all__ = ["TIERS", "run"]

# From what runs nearly everywhere to what needs most.
TIERS = {1: (qemu, kvm), 2: (vhost,), 3: (ovs,), 4: (xdp,)}


def _row(result):
    if "skipped" in result:
        return result["title"], f"skipped: {result['skipped']}", "", result["install"]
    spread = f"{result['low']:.3g} to {result['high']:.3g}"
    return (result["title"], f"{result['value']:.3g} {result['unit']}", spread,
            f"noisy, waited {result['wait']:.0%}" if result["noisy"] else "")


def run(tier=None, json_path=None, *, repeats=5, seconds=2.0, console=None, tiers=None):
    """Measure the tiers up to ``tier`` (all without); prints, writes and returns the report."""
    tiers = tiers or TIERS
    if tier is not None and tier not in tiers:
        raise ValueError(f"`tier` must be one of {', '.join(map(str, tiers))}, not {tier!r}")
    if repeats < 1 or seconds <= 0:
        raise ValueError(f"`repeats` and `seconds` must be positive, not {repeats!r}, {seconds!r}")
    console, results = console or Console(), []
    modules = [module for number, group in tiers.items() if tier is None or number <= tier
               for module in group]
    about = machine()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
                  TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("", total=len(modules))
        for module in modules:
            progress.update(task, description=module.TITLE)
            try:
                results += module.measure(seconds=seconds, repeats=repeats)
            except Skip as skip:
                results.append(skipped(module.NAME, module.TITLE, skip))
            progress.advance(task)
    table = Table("software", "a CPU second", "range", "remarks",
                  title=f"measured on {about['cpu']}, {about['cores']} cores, "
                        f"Linux {about['kernel']}; median of {repeats} runs")
    for result in results:
        table.add_row(*_row(result))
    console.print(table)
    report = {"machine": about, "results": results}
    if json_path is not None:
        path = Path(json_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
    return report
