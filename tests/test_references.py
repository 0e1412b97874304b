"""Every citation has its entry in docs/references.md."""

import re
from pathlib import Path

import pytest

ROOT    = Path(__file__).resolve().parent.parent
SOURCES = sorted(p for top in ("offloadcard", "sim", "fpga", "tests")
                 for p in (ROOT / top).rglob("*.py"))
# A key names its edition: it ends with a number, or is a name with a year.
_KEY = re.compile(r"\b((?:rfc|ieee|pcie|sriov|virtio|nvme|vfp|accelnet|itu|draft)"
                  r"-[a-z0-9.-]*[a-z0-9])")


def known_keys():
    """Keys of the table."""
    text = (ROOT / "docs/references.md").read_text()
    return {line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_citations_are_in_the_references(path):
    known = known_keys()
    for line in re.findall(r"^\s*# Ref: (.*)$", path.read_text(), re.M):
        for key in _KEY.findall(line):
            assert key in known, f"{path.name} cites {key}, which docs/references.md must list"
