"""The walk ``packet_in`` of docs/walks, on the whole card."""

import pytest

from .runner import system


@pytest.mark.system
def test_walk_packet_in():
    system("network", "walk_packet_in", preset="model")
