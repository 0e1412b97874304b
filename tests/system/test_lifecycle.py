"""Ends of life under load, a thousand times each: no access after "drained", nothing hangs."""

import pytest

from .runner import system

pytestmark = pytest.mark.system

ROUNDS = 1000


@pytest.mark.parametrize("action", ["flr", "bus_master_off", "vf_enable_off", "own_reset"])
def test_net_ends_under_load(action):
    system("lifecycle", "net_storm", action=action, rounds=ROUNDS, seed=7, timeout_s=900)


@pytest.mark.parametrize("action", ["flr", "bus_master_off", "vf_enable_off", "own_reset"])
def test_drive_ends_under_load(action):
    system("lifecycle", "drive_storm", action=action, rounds=ROUNDS, seed=7, timeout_s=900)


def test_hot_reset_under_load():
    system("lifecycle", "hot_reset")
