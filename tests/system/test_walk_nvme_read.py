"""The walk ``nvme_read`` of docs/walks, on the whole card."""

import pytest

from .runner import system


@pytest.mark.system
def test_walk_nvme_read():
    system("drive", "walk_nvme_read", preset="model")
