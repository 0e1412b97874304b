"""``offloadcard bench``: the measuring itself is in ``sim/bench``."""

from pathlib import Path

from .console import console
from .errors import CommandError
from .late import late

__all__ = ["run"]


def _sweep(names, out, preset, link, seed, workers, scheduler):
    build = late("sim.build")
    try:
        files, failures = late("sim.bench.sweep").run_sweep(
            names, out=out, preset=preset, link=link, seed=seed, workers=workers,
            scheduler=scheduler, console=console)
    except (ValueError, build.BuildError) as error:
        raise CommandError(str(error)) from None
    console.print(f"{len(files)} points in {out}", highlight=False)
    for line in failures:
        console.print(f"failed: {line}", highlight=False)
    return not failures


def run(*, scenarios, list_only, preset, link, host_latency_ns, packets, seed, json_path, waves,
        attackers=None, everything=False, sweeps=(), out=None, workers=1, scheduler=None):
    """Measure ``scenarios``, or list them; ``True`` if each has a record."""
    command, build = late("sim.bench.command"), late("sim.build")
    if sweeps:
        if scenarios or list_only:
            raise CommandError("`--sweep` must stand alone, not beside scenarios")
        return _sweep(sweeps, out, preset, link, seed, workers, scheduler)
    if list_only:
        command.list_scenarios(console=console)
        return True
    if everything:
        scenarios = list(late("sim.bench.catalog").CATALOG)
    waves_path = str(Path(waves)) if waves else None
    try:
        records = command.run(scenarios, preset, link, host_latency_ns, packets, seed, json_path,
                              attackers=attackers, waves=waves_path, console=console)
    except (ValueError, build.BuildError, build.RunError) as error:
        raise CommandError(str(error)) from None
    return bool(records)
