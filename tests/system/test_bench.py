"""The benchmark runs on a whole small card; what it says of itself holds."""

import pytest

from sim.bench.run import run_scenario

SCENARIOS = ("net-tx-64", "net-rx-64", "gft-64", "gft-64-vxlan", "nvme-read-4k", "nvme-write-4k",
             "nvme-read-512", "latency-net", "latency-nvme")


@pytest.mark.system
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name):
    record = run_scenario(name, preset="tiny", packets=64)
    rate = record["metrics"]["mpps"] or record["metrics"]["miops"]
    assert record["ledger"]["residue"] == [0, 0]
    assert record["ledger"]["closed_form"]["residue"] == 0
    if name.startswith("latency"):
        # Four reads of the host, one after the other, for a frame; two for a block's command.
        assert record["metrics"]["latency_ns"]["p50"] > 500
    else:
        assert 0 < rate <= 1.05 * record["bound"]["value"]


@pytest.mark.system
def test_a_seed_gives_the_same_run():
    first, second = (run_scenario("net-tx-64", preset="tiny", packets=64, seed=7,
                                  options={"completions": "mixed", "latency_spread_ns": 200})
                     for _ in range(2))
    for part in ("metrics", "ledger"):
        assert first[part] == second[part]
