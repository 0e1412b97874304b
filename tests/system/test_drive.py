"""Blocks through the card: the walk of a read, buffers of every shape, statuses."""

import pytest

from .runner import system

pytestmark = pytest.mark.system


def test_walk_nvme_read():
    system("drive", "walk_nvme_read", preset="model")


@pytest.mark.parametrize("preset", ["tiny", "model"])
def test_any_buffer(preset):
    system("drive", "any_buffer", preset=preset, seed=3, rounds=60)


def test_statuses():
    system("drive", "statuses")
