"""QEMU's side of the bridge against the RTL, without QEMU: interrupts, resets, memory, clients."""

import pytest

from offloadcard.config import TINY
from sim import build


@pytest.mark.system
@pytest.mark.parametrize("case", [
    "interrupts_outlive_a_reset", "a_vector_without_a_file_is_silent",
    "the_table_is_not_the_guests", "memory_goes_piece_by_piece", "a_client_comes_again"])
def test_function(case):
    build.run(build.card_simulator(TINY), "tests.sim.cocotb_qemu", tests=[case])
