"""``results.json`` to ``report.html``: one page that stands alone, drawings inside.

The first drawing, one packet's way, lies beside it as ``packet.svg``.
"""

import html
import io
import json
import re
from pathlib import Path

__all__ = ["write_report", "timeline_svg"]

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;
color:#1d2530;background:#fff}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:2px solid #2a6f97;padding-bottom:.2rem}
.sub{color:#5a6675}table{border-collapse:collapse;margin:1rem 0;width:100%}
td,th{border-bottom:1px solid #dde3ea;padding:.3rem .6rem;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}.ok{color:#2a7d46;font-weight:600}
figure{margin:1rem 0}figcaption{color:#5a6675;font-size:.9rem}svg{max-width:100%;height:auto}
pre{background:#f4f6f9;padding:1rem;overflow:auto;font-size:.85rem}
"""

CARD = """
    guest red       guest blue       guest with a drive       the provider
      | VF             | VF               | VF                     | management port
 +----+----------------+------------------+------------------------+--------------+
 |    PCIe endpoint: config spaces, DMA, MSI-X; a function for each guest         |
 |    virtio-net device                   NVMe controller                         |
 |    GFT: flow table, VXLAN, meters      |                                       |
 |    100G MAC                            DRAM                                    |
 +----+---------------------------------------------------------------------------+
      | wire
"""


def _figure(name, plot):
    """A line plot as inline SVG."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.2))
    for label, (xs, ys) in plot["lines"].items():
        axes.plot(xs, ys, label=label, linewidth=1.6)
    axes.set_xlabel(plot["xlabel"])
    axes.set_ylabel(plot["ylabel"])
    axes.set_ylim(bottom=0)
    axes.grid(alpha=.3)
    axes.legend(frameon=False)
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight")
    pyplot.close(figure)
    svg = re.sub(r"<metadata>.*?</metadata>", "", out.getvalue(), flags=re.S)
    return (f"<figure>{svg[svg.index('<svg'):]}<figcaption>{html.escape(name)} "
            "(simulated time at the stated clock)</figcaption></figure>")


def timeline_svg(steps):
    """One packet's way as a drawing: ``[{"ns", "where", "what"}]``, in order of time."""
    if not steps:
        return ""
    lanes = list(dict.fromkeys(step["where"] for step in steps))
    start, end = steps[0]["ns"], max(step["ns"] for step in steps)
    span = max(end - start, 1)
    width, left, row = 900, 130, 44
    height = row * len(lanes) + 30 + 22 * len(steps)
    parts = [(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + left + 60} {height}" '
             'font-family="system-ui,sans-serif" font-size="13">'
             '<rect width="100%" height="100%" fill="#fff"/>')]
    for n, lane in enumerate(lanes):
        y = row * n + 24
        parts.append(f'<text x="4" y="{y + 4}">{html.escape(lane)}</text>'
                     f'<line x1="{left}" x2="{width + left}" y1="{y}" y2="{y}" stroke="#cfd8e3"/>')
    points, last = [], dict.fromkeys(lanes, -20.0)
    for n, step in enumerate(steps):
        # Moments that nearly coincide stand side by side, so that each number can be read.
        x = max(left + (step["ns"] - start) / span * width, last[step["where"]] + 19,
                *last.values())
        last[step["where"]] = x
        y = row * lanes.index(step["where"]) + 24
        points.append(f"{x:.1f},{y}")
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="9" fill="#2a6f97"/>'
                     f'<text x="{x:.1f}" y="{y + 4}" fill="#fff" text-anchor="middle" '
                     f'font-size="11">{n + 1}</text>')
        parts.append(f'<text x="4" y="{row * len(lanes) + 30 + 22 * n}">{n + 1}. '
                     f'{step["ns"] - start:.0f} ns: {html.escape(step["what"])}</text>')
    parts.insert(1, f'<polyline points="{" ".join(points)}" fill="none" stroke="#e07a5f" '
                    'stroke-width="2"/>')
    return "".join(parts) + "</svg>"


def _value(value):
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else html.escape(str(value))


def _act(number, act):
    parts = [f"<h2>{number}. {html.escape(act['title'])}</h2>"]
    parts += [f"<p>{html.escape(line)}</p>" for line in act["lines"]]
    if act["facts"]:
        rows = "".join(f"<tr><td>{html.escape(name)}</td><td class=n>{_value(value)}</td>"
                       f"<td>{html.escape(unit)}</td></tr>" for name, value, unit in act["facts"])
        parts.append(f"<table><tr><th>seen in this run</th><th></th><th></th></tr>{rows}</table>")
    parts += [_figure(name, plot) for name, plot in act["series"].items()]
    if act["checks"]:
        rows = "".join(f"<tr><td class=ok>holds</td><td>{html.escape(what)}</td>"
                       f"<td class=n>{html.escape(seen)[:80]}</td></tr>"
                       for what, seen in act["checks"])
        parts.append(f"<table><tr><th></th><th>checked</th><th>seen</th></tr>{rows}</table>")
    return "\n".join(parts)


def write_report(results, path):
    """Write the page for ``results`` (the content of ``results.json``), and its first drawing."""
    config = results["config"]
    Path(path).with_name("packet.svg").write_text(timeline_svg(results.get("timeline")) + "\n")
    body = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>OffloadCard: the demo</title>",
        f"<style>{STYLE}</style><h1>OffloadCard</h1>",
        ("<p class=sub>A cloud provider's offload card, as hardware you can read. Guests see an "
        "ordinary network card and an ordinary drive; behind them the card itself emulates the "
        "devices, switches the packets and enforces the provider's policy. This page was written "
        "by one run of its simulation: every number below was measured in it.</p>"),
        f"<pre>{html.escape(CARD)}</pre>",
        "<table>",
        *(f"<tr><td>{html.escape(name)}</td><td class=n>{_value(value)}</td></tr>"
          for name, value in config.items()),
        "</table>",
    ]
    if results.get("timeline"):
        body += ["<h2>One packet through the card</h2>",
                 ("<p>From the doorbell to the wire, out of the event log of this run. The circles "
                 "are numbered in order of time.</p>"),
                 f"<figure>{timeline_svg(results['timeline'])}</figure>"]
    body += [_act(n + 1, act) for n, act in enumerate(results["acts"])]
    body.append(f"<p class=sub>The card is exact to the cycle; host, link, wire and DRAM are models"
                f" with stated timing (docs/fidelity.md). Seed {results['seed']}, commit "
                f"{html.escape(results['commit'])}, {results['sim']['cycles']:,} clocks in "
                f"{results['sim']['wall_s']:.1f} s.</p></html>")
    Path(path).write_text("\n".join(body))


def main(folder):
    """Rewrite the report of a finished run."""
    folder = Path(folder)
    write_report(json.loads((folder / "results.json").read_text()), folder / "report.html")
