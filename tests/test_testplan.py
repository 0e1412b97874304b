"""The plan and the tests are one: no testpoint without a test, no system test without a point."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT  = Path(__file__).resolve().parent.parent
PLANS = sorted((ROOT / "docs/testplan").glob("*.toml"))


def points():
    """Every testpoint with the file that holds it."""
    for plan in PLANS:
        for point in tomllib.loads(plan.read_text()).get("testpoint", []):
            yield plan, point


def functions_of(path):
    """Names of the tests in a file, methods of classes as ``Class::name``."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{n.name}" for n in node.body
                      if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    return names


@pytest.mark.parametrize("plan", PLANS, ids=lambda p: p.stem)
def test_every_point_has_its_tests(plan):
    for owner, point in points():
        if owner != plan:
            continue
        where = f"{plan.name}: {point.get('name')}"
        for key in ("name", "stimulus", "checking", "stage", "tests"):
            assert point.get(key), f"{where} must have `{key}`"
        assert point["stage"] in (1, 2, 3), f"{where}: `stage` must be 1, 2 or 3"
        for test in point["tests"]:
            name, _, function = test.partition("::")
            path = ROOT / name
            assert path.exists(), f"{where} names {test}, and there is no such file"
            assert not function or function in functions_of(path), f"{where} names {test}: no such"


def test_names_are_unique():
    names = [point["name"] for _, point in points()]
    assert len(names) == len(set(names)), sorted(n for n in names if names.count(n) > 1)


def test_every_system_test_has_a_point():
    planned = {test for _, point in points() for test in point["tests"]}
    for path in sorted((ROOT / "tests/system").glob("test_*.py")):
        for name in sorted(functions_of(path)):
            if name.startswith("test_"):
                relative = str(path.relative_to(ROOT))
                assert f"{relative}::{name}" in planned or relative in planned, \
                    f"{relative}::{name} must have a testpoint"
