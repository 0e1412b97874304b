"""Plots of records: each rate beside its bound, the octets it costs, and the baseline if given."""

import json
from pathlib import Path

from matplotlib.figure import Figure

__all__ = ["plot", "load"]

NOTE = "card: simulated cycles at {mhz} MHz (stated, not measured); software: measured wall time"
COLOURS = {"card": "#1b6ca8", "bound": "#c9d6df", "software": "#d1495b"}


def load(files):
    """Records of all files; ``ValueError`` names the file that has none."""
    records = []
    for path in files:
        try:
            found = json.loads(Path(path).read_text())
        except (OSError, ValueError) as wrong:
            raise ValueError(f"{path} must be a file of records: {wrong}") from wrong
        records += found if isinstance(found, list) else [found]
    return records


def _rate(record):
    metrics = record["metrics"]
    return metrics["mpps"] or metrics["miops"]


def _rates(records, software, unit, title):
    figure = Figure(figsize=(9, 1.2 + 0.55 * (len(records) + len(software))), layout="constrained")
    axes = figure.add_subplot()
    names = [record["scenario"] for record in records]
    axes.barh(names, [record["bound"]["value"] for record in records], color=COLOURS["bound"],
              label="bound of the run")
    axes.barh(names, [_rate(record) for record in records], color=COLOURS["card"], height=0.5,
              label="card")
    for n, record in enumerate(records):
        axes.text(_rate(record), n, f" {_rate(record):.2f}  ({record['bound']['by']})", va="center")
    for baseline in software:
        axes.barh([baseline["name"]], [baseline["value"]], color=COLOURS["software"], height=0.5)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.set_title(title)
    axes.set_xlim(0, 1.25 * max(*axes.get_xlim(), 1e-9))
    figure.legend(loc="outside upper right", ncols=2)
    mhz = records[0]["sim"]["clock_mhz"]
    figure.supxlabel(NOTE.format(mhz=mhz), fontsize=8)
    return figure


def _octets(records):
    """Shares of the purposes, and the sum; scenarios that leave the link alone are left out."""
    rows = {}
    for record in records:
        for way, name in enumerate(("up", "down")):
            shares = {purpose: pair[way]
                      for purpose, pair in record["ledger"]["per_operation"].items()}
            if sum(shares.values()):
                rows[f"{record['scenario']} {name}"] = shares
    figure = Figure(figsize=(9, 1.4 + 0.4 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    left = dict.fromkeys(rows, 0.0)
    for purpose in sorted({purpose for shares in rows.values() for purpose in shares}):
        widths = [100 * shares.get(purpose, 0) / sum(shares.values()) for shares in rows.values()]
        axes.barh(list(rows), widths, left=list(left.values()), label=purpose)
        left = {name: value + width for (name, value), width in zip(left.items(), widths)}
    for n, shares in enumerate(rows.values()):
        axes.text(101, n, f"{sum(shares.values()):.1f} octets", va="center")
    axes.set_xlim(0, 122)
    axes.invert_yaxis()
    axes.set_xlabel("share of an operation's octets on the PCIe link, per cent; none is left out")
    figure.legend(loc="outside upper right", ncols=6, fontsize=8)
    return figure


def plot(files, out, *, software=()):
    """Write PNG and SVG of every kind of rate in ``files`` to the folder ``out``; the paths.

    ``software`` are baselines: ``{"name", "value", "unit"}``, measured.
    """
    records, out = load(files), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    figures = {}
    for unit, key, title in (("Mpps", "mpps", "Packets"), ("MIOPS", "miops", "Blocks")):
        mine = [record for record in records if record["metrics"].get(key)]
        if mine:
            theirs = [entry for entry in software if entry["unit"] == unit]
            figures[key] = _rates(mine, theirs, unit, title)
            figures[f"{key}-octets"] = _octets(mine)
    if not figures:
        raise ValueError("`files` must hold records with a rate, not latencies only")
    written = []
    for name, figure in figures.items():
        for kind in ("png", "svg"):
            path = out / f"{name}.{kind}"
            figure.savefig(path, dpi=120)
            written.append(path)
    return written
