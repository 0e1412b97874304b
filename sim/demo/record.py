"""What an act found out: facts with units, checks with what was seen, series to draw."""

from dataclasses import dataclass, field

__all__ = ["Act", "CheckFailed"]


class CheckFailed(AssertionError):
    """The card did something else than the story says."""


def _shown(seen):
    """What was seen, for a reader: octets in hex, a MAC address with colons, a mapping by count."""
    if isinstance(seen, bytes):
        return seen.hex(":") if len(seen) == 6 else seen.hex()
    if isinstance(seen, dict):
        return f"all {len(seen)}" if len(seen) > 1 else ", ".join(
            f"{key}: {value}" for key, value in seen.items())
    return str(seen)


@dataclass
class Act:
    """One act of the demo.

    Attributes
    ----------
    lines : list of str
        The story, for the terminal and the report.
    facts : list of (name, value, unit)
        Measured in this run.
    checks : list of (what, seen)
        All of them held; the first that does not raises.
    series : dict
        Plots: name -> {"x", "y", "xlabel", "ylabel", "lines": {label: (xs, ys)}}.
    """
    name:   str
    title:  str
    lines:  list = field(default_factory=list)
    facts:  list = field(default_factory=list)
    checks: list = field(default_factory=list)
    series: dict = field(default_factory=dict)

    def say(self, line):
        """A sentence of the story."""
        self.lines.append(line)

    def fact(self, name, value, unit=""):
        """A number of this run."""
        self.facts.append((name, value, unit))

    def check(self, what, holds, seen=""):
        """Something that must be so; CheckFailed otherwise."""
        if not holds:
            raise CheckFailed(f"{self.name}: {what}; seen: {seen}")
        self.checks.append((what, _shown(seen)))

    def equal(self, what, got, expected):
        """Two things must be the same; lists are compared item by item, to name the first slip."""
        if isinstance(got, list) and isinstance(expected, list) and got != expected:
            for n, (one, other) in enumerate(zip(got, expected)):
                if one != other:
                    shown = [_shown(x) for x in (one, other)]
                    raise CheckFailed(f"{self.name}: {what}: item {n} must be {shown[1]}, "
                                      f"not {shown[0]}")
            raise CheckFailed(f"{self.name}: {what}: {len(expected)} must be seen, "
                              f"not {len(got)}")
        self.check(what, got == expected, got if not isinstance(got, list) else len(got))

    def plot(self, name, lines, *, xlabel, ylabel):
        """Lines to draw: ``{label: (xs, ys)}``."""
        self.series[name] = {"xlabel": xlabel, "ylabel": ylabel,
                             "lines": {label: [list(map(float, xs)), list(map(float, ys))]
                                       for label, (xs, ys) in lines.items()}}

    def as_dict(self):
        """For ``results.json``."""
        return {"name": self.name, "title": self.title, "lines": self.lines,
                "facts": [list(f) for f in self.facts],
                "checks": [list(c) for c in self.checks], "series": self.series}
