"""Time without clocks, guests' own address spaces, the digest of TLPs; on a puppet card."""

import pytest

from sim import build

from .test_link import puppet


@pytest.mark.system
@pytest.mark.parametrize("case", ["time_passes_without_clocks", "two_stirs_at_once_wake_it_once",
                                  "a_busy_card_does_not_rest",
                                  "guests_have_address_spaces_of_their_own",
                                  "the_trace_tells_payloads_apart"])
def test_world(case):
    build.run(puppet(512), "tests.sim.cocotb_rest", tests=[case])
