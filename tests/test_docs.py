"""The docs hold: links lead somewhere, examples run, components say what they promise."""

import ast
import re
from pathlib import Path

import pytest

ROOT  = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
HOUSES = ("pcie", "nvme_emul", "virtio_net_emul", "gft", "rtl")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_run(page):
    """The Python blocks of a page run in order, in one namespace."""
    namespace = {"__name__": "docs"}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
        exec(compile(block, str(page), "exec"), namespace)


def components():
    """Every public component of the card, as (file, class node)."""
    for house in HOUSES:
        for path in sorted((ROOT / "offloadcard" / house).glob("*.py")):
            for node in ast.parse(path.read_text()).body:
                if (isinstance(node, ast.ClassDef) and not node.name.startswith("_")
                        and any("Component" in ast.unparse(base) for base in node.bases)):
                    yield path, node


@pytest.mark.parametrize("path,node", list(components()),
                         ids=lambda x: getattr(x, "name", "").removesuffix(".py"))
def test_components_state_their_contract(path, node):
    text = ast.get_docstring(node) or ""
    for section in ("Timing", "Members"):
        assert re.search(rf"^{section}\n-+$", text, re.M), \
            f"{path.name}: {node.name} lacks {section}"


def test_files_are_one_idea():
    """No file over 400 lines but golden data, unless a decision names it with its reason."""
    decisions = "".join(p.read_text() for p in (ROOT / "docs/decisions").glob("*.md"))
    for top in ("offloadcard", "sim", "tests", "fpga"):
        for path in (ROOT / top).rglob("*.py"):
            if "golden" not in path.parts and path.name not in decisions:
                lines = path.read_text().count("\n")
                assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines"
