"""What the Verilog of a block must not have: constants that its simulators never assign."""

import re

from offloadcard.commands.emit import to_verilog
from offloadcard.config import TINY
from offloadcard.virtio_net_emul.control_queue import ControlQueue
from offloadcard.virtio_net_emul.layouts import Geometry

# `always @*` with one assignment that reads nothing: Verilator says ALWNEVER and leaves 0 there.
NEVER = re.compile(r"always @\*\s+(\S+(?: *\[[\d:]+\])?) = \d+'h0*[1-9a-f][0-9a-f]*;")


def test_no_constant_is_left_to_a_block_that_never_runs():
    text = to_verilog(ControlQueue(Geometry(TINY)), name="control")
    assert "always @*" in text
    assert not NEVER.findall(text)
