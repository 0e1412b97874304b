"""The walk ``config_tlp`` of docs/walks, under a tenant's full load."""

import pytest

from .runner import system


@pytest.mark.system
def test_walk_config_tlp_under_load():
    system("errors", "config_under_load", preset="model")
