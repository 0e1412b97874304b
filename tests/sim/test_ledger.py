"""The ledger of octets: nothing is lost, and every octet has a purpose."""

import pytest

from sim import build

from .test_link import puppet


@pytest.mark.system
def test_no_octet_is_lost():
    build.run(puppet(512), "tests.sim.cocotb_monitor", tests=["no_octet_is_lost"])
