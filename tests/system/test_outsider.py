"""A stranger's root complex enumerates the card."""

import pytest

from .runner import system

pytestmark = pytest.mark.system


def test_cocotbext_pcie_enumerates():
    system("outsider", "enumerates_both_physical_functions", preset="tiny")
