"""The demo, as a user runs it."""

import json
from pathlib import Path

import pytest

from sim.demo.command import run

pytestmark = pytest.mark.system


def test_every_act_holds(tmp_path):
    assert run(out=tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [act["name"] for act in results["acts"]] == [
        "arrival", "crossing", "neighbours", "drive", "policy", "limit", "misbehaviour",
        "account"]
    assert all(act["checks"] for act in results["acts"]) and results["timeline"]
    assert (tmp_path / "report.html").stat().st_size > 20_000
    assert (tmp_path / "wire.pcap").stat().st_size > 10_000
    # The README's picture is this one.
    committed = Path(__file__).parents[2] / "docs/walks/demo_packet.svg"
    assert (tmp_path / "packet.svg").read_text() == committed.read_text(), \
        "cp build/demo/packet.svg docs/walks/demo_packet.svg after `make demo`"
