"""The page of figures, from committed results: tables in Markdown, and the pictures.

    python -m sim.bench.page docs/performance

reads ``results/*.json`` of that folder and writes the rest of it anew.
"""

import json
import sys
from pathlib import Path

from .account import own_bound
from .catalog import CATALOG, UNITS, rate_of
from .plot import PICTURES, load, load_baseline, plot

__all__ = ["page", "write_page", "write_results"]

RESULTS = "results"
LINE_MPPS = 12_500 / 84  # of minimum frames


def _number(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def _table(head, rows):
    lines = [head, "|" + "---|" * (head.count("|") - 1)]
    return [*lines, *(f"| {' | '.join(cells)} |" for cells in rows), ""]


def _rate_row(record):
    metrics, bound = record["metrics"], record["bound"]
    rate = rate_of(metrics)
    unit = next((unit for key, unit in UNITS.items() if metrics.get(key)), "")
    latency = metrics["latency_ns"]["p50"] if not rate else None
    return [
        f"`{record['scenario']}`", f"{rate:.2f} {unit}" if rate else "",
        f"{bound['value']:.2f} ({bound['by']})" if bound else "",
        f"{record['efficiency']:.0%}" if record["efficiency"] else "", _number(latency, 0),
        f"{metrics['pcie_bytes_up']:.1f} / {metrics['pcie_bytes_down']:.1f}",
        str(metrics.get("lost", "")), CATALOG[record["scenario"]].peer]


def _sustained_row(record):
    metrics, own = record["metrics"], own_bound(record)
    return [*_rate_row(record)[:4],
            f"{own.value:.2f} ({own.by}), {rate_of(metrics) / own.value:.0%}" if own else "",
            str(record["operations"]), str(metrics.get("functions", "")),
            _number(metrics.get("doorbells_per_op"), 3),
            _number(metrics.get("interrupts_per_op"), 3), str(metrics.get("lost", ""))]


def _attack_row(record):
    metrics = record["metrics"]
    cells = [f"`{metrics['attack']}`"]
    for flow in ("transmit", "receive", "read"):
        alone, beside = metrics["alone"][flow], metrics["beside"][flow]
        cells.append(f"{beside['share']:.0%}")
        cells.append(" / ".join(
            f"{_number(row['p50'], 0) or '-'}, {_number(row['p99'], 0) or '-'}, "
            f"{_number(row['p999'], 0) or '-'}" for row in (alone, beside)))
    return cells


def _opening(record):
    """One line: what became of the victim's new flows, and of whose were refused."""
    metrics = record["metrics"]
    alone, beside, path = metrics["alone"]["open"], metrics["beside"]["open"], metrics["slow_path"]
    times = " / ".join(", ".join(_number(row[key] and row[key] / 1000, 1) or "-"
                                 for key in ("p50", "p99", "p999")) for row in (alone, beside))
    refused = [sum(path[f"{who}_refused"].values()) for who in ("victim", "attackers")]
    return (f"`{metrics['attack']}`, on {path['cores']} cores of {path['service_ns'] / 1000:g} us: "
            f"of the victim's new flows {beside['share']:.0%} passed (alone {alone['share']:.0%}), "
            f"P50, P99, P99.9 in us alone / beside: {times}; packets refused for want of an "
            f"allowance: {refused[0]} of the victim's, {refused[1]} of the attackers'.")


def _connection_row(record):
    metrics, bound = record["metrics"], record["bound"]
    path, flows = metrics["slow_path"], metrics["flows"]
    busy = metrics["busy"]
    return [
        f"`{record['scenario']}`", f"{path['cores']} x {path['service_ns'] / 1000:g} us",
        f"{metrics['mcps']:.3f}", f"{bound['value']:.3f} ({bound['by']})",
        f"{record['efficiency']:.0%}", f"{metrics['flow_operations_mps']:.2f}",
        f"{metrics['latency_ns']['p50'] / 1000:.1f} / {metrics['latency_ns']['p99'] / 1000:.1f}",
        f"{flows['inserted']} / {flows['closed']} / {flows['expired']}",
        ", ".join(f"{name} {share:.0%}" for name, share in busy.items()),
        str(sum(metrics["lost"].values()))]


def _operation_rows(record):
    for name, row in record["metrics"]["operations_by_kind"].items():
        yield [name, f"{row['mops']:.2f}", f"{row['cycles']:.1f}", f"{row['accesses']:.1f}",
               f"{row['access_cycles']:.1f}"]


def _connections(records):
    """What the flow table takes in and lets go."""
    lines = []
    mine = _catalogued(records, lambda scenario: scenario.kind == "connections")
    if mine:
        packets = mine[0]["metrics"]["packets"] // mine[0]["operations"]
        lines += ["## Connections", "", (
            f"By DASH's method: {packets} packets each (SYN, SYN-ACK, ACK, FIN, FIN-ACK, ACK), "
            f"both ways, VXLAN outside, {mine[0]['metrics']['functions']} guests. The first packet "
            "is decided by the slow path, which is software on stated cores of a stated service "
            "time; both directions go into the table at once, FIN raises an event, and the flows "
            "go after a stated linger; the run ends when every row is free again. `busy` says "
            "which part of the time each resource worked."), ""]
        lines += _table("| scenario | slow path | M connections/s | bound (by) | of it "
                        "| M flow operations/s | SYN to last ACK, us, p50 / p99 "
                        "| flows inserted / closed / expired | busy | lost |",
                        map(_connection_row, mine))
    engine = _catalogued(records, lambda scenario: scenario.kind == "flow_operations")
    if engine:
        lines += [("The flow table's commands by themselves, through its ring; the processor's "
                   "port takes one access at a time, and an insert needs several."), ""]
        lines += _table("| command | M/s | cycles a command | accesses a command "
                        "| cycles an access |", _operation_rows(engine[0]))
    return lines


def _baseline_rows(baseline):
    for result in baseline.get("results", ()):
        if "skipped" in result:
            yield [result["title"], f"skipped: {result['skipped']}", "", "", ""]
            continue
        versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
        yield [result["title"], f"{result['value']:.3g} {result['unit']}",
               f"{result['low']:.3g} to {result['high']:.3g}",
               f"noisy, waited {result['wait']:.0%}" if result["noisy"] else "", versions]


def _catalogued(records, choose):
    found = {}
    for record in records:
        scenario = CATALOG.get(record["scenario"])
        asked = record.get("asked")
        same = asked is None or all(asked[name] == getattr(scenario, name)
                                    for name in ("octets", "queues", "depth"))
        if scenario and same and choose(scenario):
            found[scenario.name] = record
    return [found[name] for name in CATALOG if name in found]


def _attacks(records):
    """Records of interference, by the number of attackers and the victim's rate; most first."""
    found = {}
    for record in records:
        if "attack" in record["metrics"]:
            metrics = record["metrics"]
            group = metrics["attackers"], -metrics["victim_mpps"]
            found.setdefault(group, {})[metrics["attack"]] = record
    return [[rows[name] for name in sorted(rows)] for _, rows in sorted(found.items(),
                                                                         reverse=True)]


def page(records, baseline=None):
    """Markdown of the records; all of one card and one link."""
    first, baseline = records[0], baseline or {}
    link, sim = first["link"], first["sim"]
    commits = sorted({record["commit"] for record in records})
    residue = sum(abs(record["ledger"]["closed_form"]["residue"]) for record in records)
    speeds = [record["sim"]["cycles_per_s"] for record in records]
    card = (f"Preset `{first['config']['name']}`, {sim['clock_mhz']} MHz (stated, not measured), "
            f"{first['config']['data_width']} bits; link {link['name']}, host reads "
            f"{link['host_latency_ns']:g} ns, completions {link['completions']}, "
            f"MPS {link['mps']}; seed {first['seed']}; commit {', '.join(commits)}.")
    lines = ["# Figures", "",
             "Generated by `make performance` from the results beside it: do not edit.", "",
             card, ""]
    burst = _catalogued(records, lambda scenario: scenario.burst)
    if burst:
        lines += ["## Bursts", "", (
            "Rings are filled, one doorbell a queue, the host rests; the slope between 25 % and "
            "95 % of the events. The bound is in closed form, for the octets that the scenario "
            "must move and the ACK and UpdateFC octets that the run sent. A rate may pass it by a "
            "hundredth: rings are partly fetched before the window. Figures of others are theirs, "
            "from their own measurements."), ""]
        lines += _table("| scenario | rate | bound (by) | of it | p50 ns | octets up / down an "
                        "operation | lost | who stands there now |", map(_rate_row, burst))
    sustained = _catalogued(records, lambda scenario: scenario.kind in (
        "net_sustained", "nvme_sustained", "zero_loss"))
    if sustained:
        lines += ["## Sustained", "", (
            "The host refills its rings as NAPI does: a busy queue is looked at each microsecond, "
            "an idle one when its interrupt comes. Receive is offered the whole line; `zero-loss` "
            "is the highest rate, found by bisection to 1 % of the line, at which no frame of its "
            "trial was lost. The bound is that of the card's best batches; with its own a run has "
            "the ring accesses and interrupts that it counted: a guest that offers few buffers at "
            "a time is served in small batches."), ""]
        lines += _table("| scenario | rate | bound (by) | of it | with its own batches "
                        "| operations | functions | doorbells an operation | interrupts | lost |",
                        map(_sustained_row, sustained))
    lines += _connections(records)
    for attacks in _attacks(records):
        rate, drive, count = (attacks[0]["metrics"].get(key) for key in (
            "victim_mpps", "victim_miops", "attackers"))
        paced = f"{1000 * drive:.3g} a millisecond" if drive else "one after the other"
        lines += [*(["## Interference", ""] if "## Interference" not in lines else []), (
            f"A victim sends and receives {rate:.2g} Mpps (an even part of the line is "
            f"{LINE_MPPS / (1 + count):.2g}) and reads 4 KiB blocks (`-writing`: writes "
            f"them), {paced}, beside {count} attackers. "
            "Share of what it had alone; then P50, "
            "P99, P99.9 in ns, alone / beside. The aim is 90 %."), ""]
        lines += _table("| attack | sends | ns | receives | ns | reads | ns |",
                        map(_attack_row, attacks))
        for record in attacks:
            if "open" in record["metrics"]["beside"]:
                lines += [_opening(record), ""]
    if baseline:
        about = baseline["machine"]
        lines += ["## Software", "", (
            f"Measured on {about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, by "
            "`offloadcard baseline`: a second of one core, median and range of its runs."), ""]
        lines += _table("| software | a core | range | remarks | versions |",
                        _baseline_rows(baseline))
    lines += [(f"The ledger of octets had a residue of {residue} over all runs; the simulation "
               f"ran {min(speeds):,.0f} to {max(speeds):,.0f} clocks a CPU second."), ""]
    return "\n".join(lines)


def write_page(files, out):
    """Page and pictures in the folder ``out``; the paths."""
    records, baseline, out = load(files), load_baseline(files), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for path in out.glob("*.svg"):
        path.unlink()
    written = []
    for path in plot(files, out):
        if path.suffix == ".svg":  # the pages show SVG
            written.append(path)
        else:
            path.unlink()
    lines = page(records, baseline).splitlines()
    for path in written:
        lines += ["", f"![{PICTURES[path.stem].__doc__ or path.stem}]({path.name})"]
    (out / "index.md").write_text("\n".join(lines) + "\n")
    return [*written, out / "index.md"]


def write_results(files, out):
    """Keep records, a line each, so that a change is seen where it is; baselines as they are."""
    out = Path(out) / RESULTS
    out.mkdir(parents=True, exist_ok=True)
    records = sorted(load(files), key=lambda record: (record["scenario"],
                                                      json.dumps(record.get("asked", {}))))
    rows = ",\n".join(json.dumps(record, separators=(",", ":")) for record in records)
    (out / "card.json").write_text(f"[\n{rows}\n]\n")
    baseline = load_baseline(files)
    if baseline:
        (out / "software.json").write_text(json.dumps(baseline, indent=1) + "\n")


def main(folder, *files):
    """Regenerate ``folder``, with the results of ``files`` if there are any."""
    if files:
        write_results(files, folder)
    for path in write_page(sorted((Path(folder) / RESULTS).glob("*.json")), folder):
        print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
