"""``offloadcard demo``: build, run, show how far it is, write the report."""

import json
import subprocess
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from offloadcard.config import PRESETS
from sim.build import ROOT, RunError, card_simulator
from sim.build import run as simulate

from .image import make_image, read_image
from .report import write_report
from .tenants import stations_of

__all__ = ["run"]

CAPTURE = ROOT / "tests/data/capture.pcap"


def _commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _watch(path, progress, task, stop):
    """Move the bar as the simulation tells."""
    while not stop.wait(0.2):
        lines = path.read_text().splitlines() if path.exists() else []
        if lines:
            told = json.loads(lines[-1])
            progress.update(task, completed=told["done"], description=told["text"])


def run(*, pcap=None, image=None, out="build/demo", seed=1, preset="small", waves=False,
        console=None):
    """Run the demo; did every act hold? InputError or PcapError where a file is no good."""
    console = console or Console()
    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    # What was given is looked at before anything is built.
    pcap = Path(pcap or CAPTURE).resolve()
    stations_of(pcap)
    hashes = {}
    if image is None:
        image, hashes = make_image(out, seed=seed)
    octets = len(read_image(image))
    columns = (TextColumn("{task.description:<55}"), BarColumn(), TimeElapsedColumn())
    told = out / "progress.jsonl"
    told.unlink(missing_ok=True)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("building the card", total=1)
        made = card_simulator(PRESETS[preset], waves=waves, say=lambda step: progress.update(
            task, description=f"building the card: {step}"))
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(told, progress, task, stop))
        watcher.start()
        started = time.monotonic()
        try:
            simulate(made, "sim.demo.story", timeout_s=1200,
                     waves=out / "waves.fst" if waves else None, arguments={
                         "preset": preset, "out": str(out), "pcap": str(pcap),
                         "image": str(image), "image_octets": octets, "image_hashes": hashes,
                         "seed": seed, "progress": str(told), "commit": _commit()})
        except RunError as error:
            progress.stop()
            console.print(f"the demo failed: {error}", highlight=False, markup=False)
            return False
        finally:
            stop.set()
            watcher.join()
        progress.update(task, completed=1, description="done")
    results = json.loads((out / "results.json").read_text())
    results["sim"]["process_s"] = time.monotonic() - started
    (out / "results.json").write_text(json.dumps(results, indent=1))
    write_report(results, out / "report.html")
    _tell(console, results, out)
    return True


def _tell(console, results, out):
    """The story on the terminal."""
    for number, act in enumerate(results["acts"], 1):
        console.print(f"[bold]{number}. {act['title']}[/bold]")
        for line in act["lines"]:
            console.print(f"   {line}", highlight=False)
        console.print(f"   [green]{len(act['checks'])} checks hold[/green]")
    console.print(f"Report: {out / 'report.html'}; wire: {out / 'wire.pcap'}; "
                  f"numbers: {out / 'results.json'}")
