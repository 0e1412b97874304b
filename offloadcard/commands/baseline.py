"""``offloadcard baseline``: real software, measured here; the measuring is in ``sim/software``."""

from .console import console
from .errors import CommandError
from .late import late

__all__ = ["run"]


def run(*, tier, repeats, seconds, json_path):
    """Measure; ``True`` if anything could be measured."""
    try:
        command = late("sim.software.command")
        tiers = {**command.TIERS, 1: (*command.TIERS[1], late("sim.qemu.exits"))}
        report = command.run(tier, json_path, repeats=repeats, seconds=seconds, console=console,
                             tiers=tiers)
    except ValueError as error:
        raise CommandError(str(error)) from None
    return any("value" in result for result in report["results"])
