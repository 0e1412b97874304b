"""How our pictures look: a column wide, legible in grey, with a caption that says what is what."""

import textwrap

import matplotlib
from matplotlib.figure import Figure

__all__ = ["GREYS", "HATCHES", "MARKERS", "STYLES", "canvas", "drawing", "save"]

COLUMN_INCHES = 3.5
# Lightness alone tells them apart; hue is for screens.
GREYS = ("#12486b", "#e0a040", "#7a5195", "#bcd8e8", "#c2553a", "#dddddd", "#2f6f4f", "#f3dcb0",
         "#444444", "#9a9a9a")
HATCHES = ("", "//", "..", "xx", "\\\\", "--", "oo", "++", "**", "||")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLES = ("-", "--", "-.", ":")

_RC = {"font.size": 7, "axes.titlesize": 7.5, "axes.labelsize": 7, "legend.fontsize": 6,
       "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "lines.linewidth": 1.1,
       "lines.markersize": 3.5, "hatch.linewidth": 0.5, "axes.spines.top": False,
       "axes.spines.right": False, "axes.axisbelow": True,
       "svg.fonttype": "none", "svg.hashsalt": "offloadcard"}


def drawing():
    """A context in which everything is drawn and saved."""
    return matplotlib.rc_context(_RC)


def canvas(height=2.4, *, columns=1, caption=""):
    """A figure with ``columns`` axes side by side, the caption below: ``(figure, [axes])``."""
    lines = textwrap.wrap(caption.strip(), 92 * columns)
    figure = Figure(figsize=(COLUMN_INCHES * columns, height + 0.1 * len(lines)),
                    layout="constrained")
    if lines:
        figure.supxlabel("\n".join(lines), fontsize=5, x=0.01, ha="left", color="#333333")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for each in axes:
        each.grid(True, color="#dddddd", linewidth=0.4)
    return figure, list(axes)


def save(figure, out, name):
    """The picture as PNG and SVG; the paths."""
    written = []
    for kind, options in (("png", {"dpi": 200}), ("svg", {"metadata": {"Date": None}})):
        path = out / f"{name}.{kind}"
        figure.savefig(path, **options)
        if kind == "svg":  # no blanks at ends of lines
            text = "\n".join(line.rstrip() for line in path.read_text().splitlines())
            path.write_text(text + "\n")
        written.append(path)
    return written
