"""Packets through the card: tenants apart, frames of every length, guests without buffers."""

import pytest

from .runner import system

pytestmark = pytest.mark.system


@pytest.mark.parametrize("preset", ["tiny", "model"])
def test_two_tenants_with_the_same_addresses(preset):
    system("network", "isolation", preset=preset, seed=5, rounds=12)


def test_neighbours_meet_on_the_card():
    system("network", "neighbours", preset="model")


@pytest.mark.parametrize("preset", ["tiny", "model"])
def test_any_frame(preset):
    system("network", "any_frame", preset=preset, seed=11, rounds=15)


@pytest.mark.parametrize("case", ["without_a_buffer", "notifications"])
def test_receive_side(case):
    system("network", case, preset="model")
