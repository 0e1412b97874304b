"""The benchmark runs on a whole small card; what it says of itself holds."""

import pytest

from sim.bench.catalog import rate_of
from sim.bench.run import run_scenario
from tests.system.golden import PACKETS, counts_of, known

# The others end in batches as long as the rings of so small a card: their slope says little.
ONE_BY_ONE = ("net-tx-64", "gft-64", "gft-64-vxlan")


def golden_run(name, preset):
    """Run a scenario; its counts are the golden ones, its ledger is whole."""
    record = run_scenario(name, preset=preset, packets=PACKETS[preset][name])
    assert counts_of(record) == known(preset)[name], \
        "golden counts: `python -m tests.system.golden` writes them; say why in the commit"
    assert record["ledger"]["residue"] == [0, 0]
    assert record["ledger"]["closed_form"]["residue"] == 0
    return record


@pytest.mark.system
@pytest.mark.parametrize("name", PACKETS["tiny"])
def test_scenario(name):
    record = golden_run(name, "tiny")
    rate = rate_of(record["metrics"])
    if name.startswith("latency"):
        # Four reads of the host, one after the other, for a frame; two for a block's command.
        assert record["metrics"]["latency_ns"]["p50"] > 500
    elif name in ONE_BY_ONE:
        assert 0 < rate <= 1.05 * record["bound"]["value"]
    elif name.startswith("interference"):
        assert record["metrics"]["beside"]["read"]["share"] > 0.5
    else:
        assert rate > 0
    if name == "connections":
        # Six packets of each connection, both of its flows there and gone again.
        metrics, flows = record["metrics"], record["metrics"]["flows"]
        assert metrics["packets"] == 6 * record["operations"] and not metrics["lost"]
        assert flows["inserted"] == flows["closed"] + flows["expired"]
        assert flows["inserted"] >= 2 * record["operations"]
        # The slope of few connections is out by up to one of them.
        assert rate <= (1 + 1 / record["operations"]) * record["bound"]["value"]


@pytest.mark.system
@pytest.mark.parametrize("name", PACKETS["model"])
def test_scenario_of_the_model(name):
    """The figures that are published, in short: near their bound, and not a cycle slower."""
    record = golden_run(name, "model")
    if not name.startswith("latency"):
        assert record["efficiency"] >= 0.9


@pytest.mark.system
def test_a_seed_gives_the_same_run():
    first, second = (run_scenario("net-tx-64", preset="tiny", packets=64, seed=7,
                                  options={"completions": "mixed", "latency_spread_ns": 200})
                     for _ in range(2))
    for part in ("metrics", "ledger"):
        assert first[part] == second[part]


@pytest.mark.system
def test_new_flows_beside_a_flood():
    """A flood of new flows is refused by its own allowance; the victim's all pass."""
    record = run_scenario("interference-flow-thrash-limited", preset="small", packets=1000)
    metrics, path = record["metrics"], record["metrics"]["slow_path"]
    assert metrics["beside"]["open"]["share"] == metrics["alone"]["open"]["share"] == 1
    assert metrics["beside"]["open"]["samples"] > 10
    assert set(path["victim_refused"].values()) == {0}
    assert path["attackers_refused"]["new_flows_allowance_exceeded"] > 100
