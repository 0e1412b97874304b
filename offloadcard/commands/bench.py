"""``offloadcard bench``: the measuring itself is in ``sim/bench``."""

from pathlib import Path

from .console import console
from .errors import CommandError
from .late import late

__all__ = ["run"]


def run(*, scenarios, list_only, preset, link, host_latency_ns, packets, seed, json_path, waves):
    """Measure ``scenarios``, or list them; ``True`` if each has a record."""
    command, build = late("sim.bench.command"), late("sim.build")
    if list_only:
        command.list_scenarios(console=console)
        return True
    waves_path = str(Path(waves)) if waves else None
    try:
        records = command.run(scenarios, preset, link, host_latency_ns, packets, seed, json_path,
                              waves=waves_path, console=console)
    except (ValueError, build.BuildError, build.RunError) as error:
        raise CommandError(str(error)) from None
    return bool(records)
