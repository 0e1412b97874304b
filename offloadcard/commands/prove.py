"""``offloadcard prove``: the formal proofs, by name, each with the mutants that it must refuse."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from .console import console, progress_bar
from .errors import CommandError

__all__ = ["Proof", "collect", "run"]

ROOT = Path(__file__).resolve().parent.parent.parent
_RESULT = re.compile(r"^(tests/\S+::\S+(?: \[.*\])?.*?) (PASSED|FAILED|ERROR|SKIPPED)\b")


class Proof(NamedTuple):
    """One proof and how it ended."""
    test:    str
    result:  str
    seconds: float

    @property
    def house(self):
        """The folder below ``tests``."""
        return self.test.split("/")[1]

    @property
    def name(self):
        """The test's name, without what all have in common."""
        return self.test.split("::", 1)[1].removeprefix("test_").removeprefix("spec_")

    @property
    def is_mutant(self):
        """Is it a broken variant that a proof must refuse?"""
        return re.search(r"mutant|broken|refuse", self.name) is not None


def _pytest(*arguments):
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments]


def collect(names=()):
    """Ids of the formal tests whose id contains one of ``names``; all without."""
    if not (ROOT / "tests").is_dir():
        raise CommandError("prove must be run from a checkout: there is no tests/ beside the "
                           "package")
    done = subprocess.run(_pytest("--collect-only", "-q", "-m", "formal", "tests"), cwd=ROOT,
                          capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if "::" in line and " " not in line]
    if not found:
        raise CommandError(f"no proofs could be collected: "
                           f"{(done.stdout + done.stderr).strip().splitlines()[-1:]}")
    chosen = [test for test in found if not names or any(name in test for name in names)]
    if not chosen:
        raise CommandError(f"NAME must be part of a proof's name, not {', '.join(names)} "
                           f"(offloadcard prove --list shows all)")
    return chosen


def _prove(tests):
    """Run ``tests``; yield a :class:`Proof` as each ends, then the whole output."""
    process = subprocess.Popen(_pytest("-v", "--tb=short", *tests), cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    began, lines = time.monotonic(), []
    with process:
        for line in process.stdout:
            lines.append(line)
            match = _RESULT.match(line)
            if match:
                now = time.monotonic()
                yield Proof(match[1].strip(), match[2], now - began)
                began = now
    yield "".join(lines)


def run(*, names, list_only):
    """Print a table of the proofs; ``True`` if every one holds."""
    tests = collect(names)
    if list_only:
        for test in tests:
            console.print(test, highlight=False)
        return True
    proofs, output = [], ""
    with progress_bar("prove", len(tests)) as step:
        for item in _prove(tests):
            if isinstance(item, str):
                output = item
                continue
            proofs.append(item)
            step(item.name)
    table = Table("house", "proof", "", "result", "s", box=None)
    for proof in proofs:
        good = proof.result == "PASSED"
        said = ("refused" if proof.is_mutant else "holds") if good else proof.result.lower()
        table.add_row(proof.house, proof.name, "mutant" if proof.is_mutant else "",
                      f"[{'green' if good else 'red'}]{said}[/]", f"{proof.seconds:.1f}")
    console.print(table)
    held = len(proofs) == len(tests) and all(p.result == "PASSED" for p in proofs)
    mutants = sum(p.is_mutant for p in proofs)
    console.print(f"{len(proofs) - mutants} proofs, {mutants} mutants refused or not: "
                  f"{'all as they must be' if held else 'NOT all as they must be'}")
    if not held:
        console.print(output, markup=False, highlight=False)
    return held
