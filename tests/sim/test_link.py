"""The compiled world, tried on a puppet card that sends what it is told."""

from pathlib import Path

import pytest

from sim import build

HERE = Path(__file__).parent


def puppet(width=512):
    """The simulator with the puppet inside."""
    def make():
        from .puppet import Puppet
        return Puppet(data_width=width)
    return build.simulator(make, f"puppet-{width}", key=f"puppet {width}",
                           sources=[HERE / "puppet.py"])


ANY_WIDTH = ["config_space_answers", "frames_turn_round", "mailboxes_and_dram"]
# An order fits one beat at 512 bits only.
ONE_BEAT  = ["memory_is_written_and_read", "messages_are_judged",
             "a_write_may_hold_before_its_completion"]


@pytest.mark.system
def test_a_wide_card():
    build.run(puppet(512), "tests.sim.cocotb_link", tests=ANY_WIDTH + ONE_BEAT)


@pytest.mark.system
def test_a_narrow_card():
    build.run(puppet(64), "tests.sim.cocotb_link", tests=ANY_WIDTH)
