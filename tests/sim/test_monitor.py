"""Monitors, injected faults and timing of the compiled world, tried on a puppet card."""

import pytest

from sim import build

from .test_link import puppet

TESTS = [
    "legal_tlps_pass", "illegal_requests_are_seen", "a_tag_in_flight_is_not_used_again",
    "bus_mastering_is_asked_for", "a_family_has_its_own_sizes", "virtual_functions_begin_anew",
    "functions_keep_to_their_guest", "interrupts_are_counted",
    "reads_meet_the_faults_ordered", "completions_are_cut_by_policy", "reads_may_overtake",
    "time_is_kept", "credits_bound_both_ways", "a_hot_reset_forgets", "frames_keep_to_the_line",
    "dram_has_an_end",
]


@pytest.mark.system
def test_laws():
    build.run(puppet(512), "tests.sim.cocotb_monitor", tests=TESTS)
