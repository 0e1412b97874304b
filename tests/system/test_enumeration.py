"""The card under an operating system's enumeration, on the real endpoint."""

import pytest

from .runner import system

pytestmark = pytest.mark.system


@pytest.mark.parametrize("case", ["both_physical_functions", "virtual_functions", "without_ari",
                                  "function_level_reset", "msix_table"])
def test_enumeration(case):
    system("enumeration", case)


def test_enumeration_of_254_functions():
    system("enumeration", "both_physical_functions", "virtual_functions", preset="model")
