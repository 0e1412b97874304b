"""Hostile guests, by Hypothesis."""

import pytest

from tests.support.soak import TIMES

from .runner import system

pytestmark = pytest.mark.system


@pytest.mark.parametrize("case", ["hostile_net", "hostile_drive"])
def test_hostile_guest(case):
    system("hostile", case, rounds=40 * TIMES, timeout_s=600 * TIMES)
