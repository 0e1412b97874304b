"""What a driver leaves to the card: checksums, pairs, commands, the reset of one queue."""

import pytest

from .runner import system

pytestmark = pytest.mark.system


@pytest.mark.parametrize("case", ["checksums", "pairs_and_commands", "queue_reset"])
def test_offloads(case):
    system("offloads", case, preset="tiny")


def test_bulk():
    system("offloads", "bulk", preset="small", seed=1, rounds=20)
