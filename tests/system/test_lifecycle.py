"""Ends of life under load, many times each: no access after "drained", nothing hangs.

``OFFLOADCARD_ROUNDS=1000`` makes it a thousand times each; every run prints its seed when it fails.
"""

import os

import pytest

from .runner import system

pytestmark = pytest.mark.system

ROUNDS = int(os.environ.get("OFFLOADCARD_ROUNDS", "40"))


@pytest.mark.parametrize("action", ["flr", "bus_master_off", "vf_enable_off", "own_reset"])
def test_net_ends_under_load(action):
    system("lifecycle", "net_storm", action=action, rounds=ROUNDS, seed=7, timeout_s=3600)


@pytest.mark.parametrize("action", ["flr", "bus_master_off", "vf_enable_off", "own_reset"])
def test_drive_ends_under_load(action):
    system("lifecycle", "drive_storm", action=action, rounds=ROUNDS, seed=7, timeout_s=3600)


def test_hot_reset_under_load():
    system("lifecycle", "hot_reset")
