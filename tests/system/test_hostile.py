"""Hostile guests, by Hypothesis."""

import pytest

from .runner import system

pytestmark = pytest.mark.system


@pytest.mark.parametrize("case", ["hostile_net", "hostile_drive"])
def test_hostile_guest(case):
    system("hostile", case, rounds=40, timeout_s=600)
