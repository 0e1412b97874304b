"""The floors of the house: imports point down, never up, never sideways."""

import ast
from pathlib import Path

import pytest

ROOT   = Path(__file__).resolve().parent.parent
HOUSES = ("pcie", "nvme_emul", "virtio_net_emul", "gft")


def is_declaration(module):
    """Floor 0: specs, octets, register maps, the configuration."""
    name = module.rsplit(".", 1)[-1]
    return (module in ("offloadcard", "offloadcard.config")
            or name == "spec" or name.startswith("spec_")
            or module in ("offloadcard.rtl.octets", "offloadcard.rtl.regmap"))


def imports_of(path):
    """Absolute names of all modules of our own that ``path`` imports."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            names = [name if (ROOT / Path(*name.split("."))).with_suffix(".py").exists()
                     or (ROOT / Path(*name.split("."))).is_dir() else stem
                     for name in (f"{stem}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (n for n in names if n.split(".")[0] in ("offloadcard", "sim", "tests", "fpga"))


def allowed(module, target):
    """May ``module`` import ``target``?"""
    parts = module.split(".")
    if is_declaration(target):
        return True
    if is_declaration(module):
        return False
    if parts[:2] == ["offloadcard", "rtl"]:
        return target.startswith("offloadcard.rtl")
    for house in HOUSES:
        if parts[:2] == ["offloadcard", house]:
            return target.startswith(("offloadcard.rtl", f"offloadcard.{house}"))
    if module == "offloadcard.card":
        return target.startswith(tuple(f"offloadcard.{h}" for h in ("rtl", *HOUSES)))
    if parts[:2] == ["offloadcard", "control"]:
        return target.startswith("offloadcard.control")
    software = ("host", "models", "bridge", "software")
    if parts[0] == "sim" and len(parts) > 1 and parts[1] in software:
        return target.startswith("sim.") and target.split(".")[1] in software
    return not target.startswith("tests")


SOURCES = sorted(p for top in ("offloadcard", "sim", "fpga") for p in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    wrong = [t for t in imports_of(path) if path.name != "__init__.py" and not allowed(module, t)]
    assert not wrong, f"{module} must not import {wrong}"


def test_a_wrong_stair_is_seen():
    assert not allowed("offloadcard.rtl.buffer", "offloadcard.pcie.requester")
    assert not allowed("offloadcard.gft.parse", "offloadcard.nvme_emul.prp")
    assert not allowed("sim.host.pci", "offloadcard.pcie.endpoint")
    assert allowed("sim.host.nvme_driver", "offloadcard.nvme_emul.spec")


def test_scapy_stays_outside_the_card():
    """scapy is GPL: a witness in ``sim`` and ``tests``, never part of the card."""
    for path in (ROOT / "offloadcard").rglob("*.py"):
        assert "scapy" not in {n.split(".")[0] for n in _all_imports(path)}, path


def _all_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
