"""The walk ``packet_out`` of docs/walks, on the whole card."""

import pytest

from .runner import system


@pytest.mark.system
def test_walk_packet_out():
    system("network", "walk_packet_out", preset="model")
