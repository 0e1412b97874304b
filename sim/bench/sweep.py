"""Many points of a scenario, one simulation each, by dask: local processes, or a cluster.

Every point is a file of its own; a point that is there is not measured again. ``dask.distributed``
is the engine: nothing here schedules.
"""

import json
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from offloadcard.config import PRESETS

from .. import build
from .run import run_scenario

__all__ = ["Point", "SWEEPS", "run_sweep", "points_of"]


class Point(NamedTuple):
    """One simulation: a scenario, what differs in it and in the link, and how long it is."""
    scenario: str
    change:   tuple = ()   # ((name, value), ...)
    options:  tuple = ()
    packets:  int = None

    @property
    def name(self):
        """Of its file."""
        parts = [f"{key}{value}" for key, value in (*self.change, *self.options)]
        return "_".join([self.scenario, *parts])


def _points(scenario, name, values, packets=None):
    return [Point(scenario, ((name, value),), packets=packets) for value in values]


FRAMES = (60, 124, 252, 508, 1020, 1514)

SWEEPS = {
    "frame-size": [*_points("net-tx-64", "octets", FRAMES, 4096),
                   *_points("net-rx-64", "octets", FRAMES, 2048),
                   *_points("gft-64", "octets", FRAMES, 1024)],
    "flows": _points("gft-64", "queues", (1, 16, 64, 256, 1024), 2048),
    # Long enough that the memory of all functions is known to be prompt.
    "functions": _points("net-tx-64-sustained", "queues", (1, 2, 4, 8, 16, 32, 64, 126), 50_000),
    "depth": [*_points("nvme-read-4k-sustained", "depth", (1, 2, 4, 8, 16, 32, 64), 2048),
              *_points("nvme-read-512-sustained", "depth", (1, 2, 4, 8, 16, 32, 64), 4096)],
    "block-size": [point for octets in (512, 1024, 2048, 4096, 8192, 16384)
                   for point in _points("nvme-read-4k-sustained", "octets", (octets,), 2048)],
    "host-latency": [Point(scenario, options=(("host_latency_ns", ns),))
                     for scenario in ("net-tx-64", "net-rx-64", "nvme-read-4k")
                     for ns in (0, 250, 500, 1000, 2000)],
}


def points_of(names):
    """The points of sweeps; ``ValueError`` for one that is not there."""
    for name in names:
        if name not in SWEEPS:
            raise ValueError(f"`sweep` must be one of {', '.join(SWEEPS)}, not {name!r}")
    return [point for name in names for point in SWEEPS[name]]


def _measure(point, preset, link, seed):
    return run_scenario(point.scenario, preset=preset, link=link, options=dict(point.options),
                        packets=point.packets, seed=seed, change=dict(point.change))


def run_sweep(names, *, out, preset="model", link="gen3x16", seed=1, workers=1, scheduler=None,
              console=None):
    """Measure what is missing; returns ``(files, failures)``, where a failure is a line."""
    try:
        from distributed import Client, LocalCluster, as_completed
    except ModuleNotFoundError:
        raise ValueError("a sweep needs dask.distributed: "
                         "python3 -m pip install 'offloadcard[sweep]'") from None
    if workers < 1:
        raise ValueError(f"`workers` must be 1 or more, not {workers!r}")
    points, out = points_of(names), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    console = console or Console()
    missing = [point for point in points if not (out / f"{point.name}.json").exists()]
    failures = []
    if missing:
        build.card_simulator(PRESETS[preset])  # once, before many want it
        cluster = None if scheduler else LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None)
        with Client(scheduler or cluster) as client, Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), console=console, transient=True) as progress:
            task = progress.add_task("sweep", total=len(points),
                                     completed=len(points) - len(missing))
            futures = {client.submit(_measure, point, preset, link, seed, pure=False,
                                     retries=0): point for point in missing}
            for future in as_completed(futures):
                point = futures[future]
                if future.status == "error":
                    line = str(future.exception()).splitlines()
                    failures.append(f"{point.name}: {line[0] if line else 'no words'}")
                else:
                    path = out / f"{point.name}.json"
                    part = path.with_suffix(".part")
                    part.write_text(json.dumps([future.result()], indent=1) + "\n")
                    part.rename(path)
                progress.update(task, advance=1, description=point.name)
        if cluster is not None:
            cluster.close()
    return [out / f"{point.name}.json" for point in points
            if (out / f"{point.name}.json").exists()], failures
