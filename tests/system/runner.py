"""Start cocotb cases against the whole card; each preset is built once and kept."""

import functools

from offloadcard.config import PRESETS
from sim.build import card_simulator, run

__all__ = ["system"]


@functools.cache
def _simulator(preset):
    return card_simulator(PRESETS[preset])


def system(module, *cases, preset="tiny", timeout_s=300, **arguments):
    """Run ``cases`` of ``tests.system.cases.<module>``; what they reported."""
    return run(_simulator(preset), f"tests.system.cases.{module}", tests=list(cases),
               arguments={"preset": preset, **arguments}, timeout_s=timeout_s)
