"""``offloadcard prove``: the formal proofs, by name, each with the mutants that it must refuse."""

import ast
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from .console import console, progress_bar
from .errors import CommandError
from .late import late

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
        return re.search(r"mutant|_refused|sees_a_", self.name) is not None


def _pytest(*arguments):
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *arguments]


def _is_formal(node):
    return any("mark.formal" in ast.unparse(decorator) for decorator in node.decorator_list)


def _formal_tests(path):
    """Ids of the formal tests in a file, by its text: nothing is imported."""
    name = path.relative_to(ROOT).as_posix()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            if _is_formal(node):
                yield f"{name}::{node.name}"
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and inner.name.startswith("test_"):
                    if _is_formal(inner) or _is_formal(node):
                        yield f"{name}::{node.name}::{inner.name}"


def collect(names=()):
    """Ids of the formal tests whose id contains one of ``names``; all without."""
    found = [test for path in sorted((ROOT / "tests").rglob("test_*.py"))
             for test in _formal_tests(path)]
    if not found:
        raise CommandError("prove must be run from a checkout: there are no proofs beside the "
                           "package")
    chosen = [test for test in found if not names or any(name in test for name in names)]
    if not chosen:
        raise CommandError(f"NAME must be part of a proof's name, not {', '.join(names)} "
                           f"(offloadcard prove --list shows all)")
    return chosen


def _prove(tests):
    """Run ``tests``; yield a :class:`Proof` as each ends, then exit code and output."""
    process = subprocess.Popen(_pytest("-v", "--tb=short", *tests), cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               preexec_fn=late("sim.bridge.child").die_with_parent)
    began, lines = time.monotonic(), []
    with process:
        for line in process.stdout:
            lines.append(line)
            match = _RESULT.match(line)
            if match:
                now = time.monotonic()
                yield Proof(match[1].strip(), match[2], now - began)
                began = now
    yield process.returncode, "".join(lines)


def run(*, names, list_only):
    """Print a table of the proofs; ``True`` if every one holds."""
    tests = collect(names)
    if list_only:
        for test in tests:
            console.print(test, highlight=False, soft_wrap=True)
        return True
    proofs, code, output = [], 0, ""
    with progress_bar("prove", len(tests)) as step:
        for item in _prove(tests):
            if not isinstance(item, Proof):
                code, output = item
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
    held = not code and len(proofs) >= len(tests) and all(p.result == "PASSED" for p in proofs)
    mutants = sum(p.is_mutant for p in proofs)
    console.print(f"{len(proofs) - mutants} proofs, {mutants} mutants refused or not: "
                  f"{'all as they must be' if held else 'NOT all as they must be'}")
    if not held:
        console.print(output, markup=False, highlight=False)
    return held
