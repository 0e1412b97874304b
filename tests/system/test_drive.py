"""Blocks through the card: buffers of every shape, statuses."""

import pytest

from .runner import system

pytestmark = pytest.mark.system


@pytest.mark.parametrize("preset", ["tiny", "model"])
def test_any_buffer(preset):
    system("drive", "any_buffer", preset=preset, seed=3, rounds=60)


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_compare(preset):
    system("drive", "compare", preset=preset, seed=5)


def test_statuses():
    system("drive", "statuses")
