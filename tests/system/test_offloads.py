"""What a driver leaves to the card: checksums, pairs, commands, single resets, merged buffers."""

import pytest

from .runner import system

pytestmark = pytest.mark.system


@pytest.mark.parametrize("case", ["checksums", "pairs_and_commands", "queue_reset"])
def test_offloads(case):
    system("offloads", case, preset="tiny")


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_merged(preset):
    system("offloads", "merged", preset=preset, seed=3, rounds=12)


def test_bulk():
    system("offloads", "bulk", preset="small", seed=1, rounds=20)


def test_jumbo():
    system("offloads", "jumbo", preset="small", seed=1, rounds=12)
