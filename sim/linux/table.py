"""The table of figures in ``docs/linux.md``, made from ``build/linux/results.json``."""

import json
from pathlib import Path

from sim.build import ROOT

from .kernel import BUILD

__all__ = ["DOCUMENT", "table", "write"]

DOCUMENT = ROOT / "docs/linux.md"
_BEGIN, _END = "<!-- results: made by offloadcard linux --table -->", "<!-- end of results -->"


def _number(value):
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def table(results):
    """Markdown of all results: what each script showed, what it cost, what it measured."""
    lines = [("| script | preset | virtual s | card clocks | wall s | wall s a virtual s "
             "| figures |"),
             "|---|---|---|---|---|---|---|"]
    for name, one in sorted(results.items()):
        figures = ", ".join(f"{key} {_number(f['value'])} {f['unit']}"
                            for key, f in sorted(one["figures"].items()))
        rate = one["wall_s"] / one["virtual_s"] if one["virtual_s"] else 0.0
        verdict = "" if one["code"] == 0 else f" (failed: {one['code']})"
        lines.append(f"| `{name}`{verdict} | {one['preset']} | {one['virtual_s']:.3f} "
                     f"| {one['clocks']} | {one['wall_s']:.0f} | {rate:.1f} | {figures} |")
    commits = sorted({one["commit"] for one in results.values()})
    seeds = sorted({one["seed"] for one in results.values()})
    lines += ["", f"Commit {', '.join(commits)}; seed {', '.join(map(str, seeds))}."]
    return "\n".join(lines)


def write(document=DOCUMENT, results=None):
    """Put the table between its marks; is the document another than before?"""
    results = json.loads(Path(results or BUILD / "results.json").read_text())
    document = Path(document)
    text = document.read_text()
    before, rest = text.split(_BEGIN)
    after = rest.split(_END)[1]
    fresh = f"{before}{_BEGIN}\n\n{table(results)}\n\n{_END}{after}"
    document.write_text(fresh)
    return fresh != text
