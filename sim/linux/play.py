"""Guests that run a script, or give a shell: from a :class:`Script` to what came of it."""

import json
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sim.build import ROOT

from . import needs, run
from .kernel import BUILD, KernelError

__all__ = ["Outcome", "play", "record"]

_INIT = Path(__file__).resolve().parent / "init.sh"


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    codes : tuple of int or None
        Exit code of each guest's script; ``None`` where the guest ended without one.
    figures : dict
        Name -> (value, unit), as the guests measured them in virtual time.
    report : dict
        Of :func:`sim.linux.run.boot`.
    out : Path
        Folder with the guests' consoles, kernel logs and files.
    """
    codes:   tuple
    figures: dict
    report:  dict
    out:     Path

    @property
    def code(self):
        """Of the whole run: the first that is not 0; 1 where a guest has none."""
        return next((1 if code is None else code for code in self.codes if code != 0), 0)


def play(script, config, kernel, *, out=None, terminal=None, follow=None, shell=False, **options):
    """Boot the guests of ``script``; the :class:`Outcome`.

    Parameters
    ----------
    script : Script
    config : CardConfig
    kernel : Path
    out : Path
        Folder for what the run leaves; made anew.
    terminal : Path
        Of the first guest's console, for a shell.
    follow : callable
        Told each line of the guests' consoles as it comes: ``follow(guest, line)``.
    shell : bool
        A shell instead of the script.
    **options
        For :func:`sim.linux.run.boot`.
    """
    packages = needs.missing(needs.GUEST)
    if packages:
        raise KernelError("the guests' scripts need packages that are missing; "
                          f"get them by: apt install {' '.join(packages)}")
    out = Path(out or BUILD / "runs" / script.name).resolve()
    for path in (ROOT, out):
        if " " in str(path):
            raise KernelError(f"a path must be without spaces, for a kernel's sake, not {path}")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    if not shell:
        shutil.copyfile(script.path, out / "script")
    count = len(script.functions)
    guests = [run.GuestSpec(
        functions=functions, memory=script.memory, hostile=guest in script.hostile,
        console=terminal if shell and guest == 0 else out / f"console{guest}",
        card=script.cards[guest] if script.cards else 0,
        append=["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
                f"init={_INIT}", "con=null", f"con0={'fd:0' if shell else 'null'},fd:1",
                f"REPO={ROOT}", f"OUT={out}", f"GUEST={guest}", f"GUESTS={count}",
                *([] if shell else ["SCRIPT=script"])])
        for guest, functions in enumerate(script.functions)]
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(out, count, follow, stop))
    if follow is not None:
        watcher.start()
    try:
        report = run.boot(config, kernel, guests, networks=script.networks, drives=script.drives,
                          joined=script.joined, far=script.far, fiend=script.fiend,
                          mtu=script.mtu, refused=script.refused,
                          orders=out, tlp_log=out / "tlp" if script.timeline else None,
                          timeout_s=script.timeout, **options)
    finally:
        stop.set()
        if follow is not None:
            watcher.join()
    return Outcome(tuple(_code(out, guest) for guest in range(count)), _figures(out, count),
                   report, out)


def _code(out, guest):
    path = out / f"exit{guest}"
    return int(path.read_text()) if path.exists() else None


def _figures(out, count):
    found = {}
    for guest in range(count):
        path = out / f"figures{guest}"
        for line in path.read_text().splitlines() if path.exists() else ():
            name, value, unit = line.split(maxsplit=2)
            found[name] = (float(value), unit)
    return found


def _watch(out, count, follow, stop):
    """Tell lines of the consoles, once each, until ``stop`` and the last line."""
    places, rest = [0] * count, [""] * count
    while True:
        last = stop.wait(0.2)
        for guest in range(count):
            path = out / f"console{guest}"
            if not path.exists():
                continue
            with open(path, errors="replace") as console:
                console.seek(places[guest])
                text = rest[guest] + console.read()
                places[guest] = console.tell()
            *lines, rest[guest] = text.split("\n")
            for line in lines + ([rest[guest]] if last and rest[guest] else []):
                follow(guest, line.rstrip("\r"))
        if last:
            return


def _commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def record(script, config, outcome, *, seed, path=None):
    """Keep what a run measured: its entry in ``build/linux/results.json`` is made anew."""
    path = Path(path or BUILD / "results.json")
    results = json.loads(path.read_text()) if path.exists() else {}
    report = outcome.report
    results[script.name] = {
        "shows": script.shows, "code": outcome.code, "preset": config.name, "seed": seed,
        "commit": _commit(), "at": time.strftime("%Y-%m-%d"),
        "guests": len(script.functions), "virtual_s": report["virtual_ns"] / 1e9,
        "clocks": report["clocks"], "wall_s": report["wall_s"], "trace": report["trace"],
        "counts": report["counts"],
        "figures": {name: {"value": value, "unit": unit}
                    for name, (value, unit) in outcome.figures.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    fresh.replace(path)
