"""The walk ``first_packet`` of docs/walks, on the whole card."""

import pytest

from .runner import system


@pytest.mark.system
def test_walk_first_packet():
    system("network", "walk_first_packet", preset="model")
