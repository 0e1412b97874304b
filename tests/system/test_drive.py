"""Blocks through the card: buffers of every shape, statuses."""

import pytest

from .runner import system

pytestmark = pytest.mark.system


@pytest.mark.parametrize("preset", ["tiny", "model"])
def test_any_buffer(preset):
    system("drive", "any_buffer", preset=preset, seed=3, rounds=60)


def test_statuses():
    system("drive", "statuses")
