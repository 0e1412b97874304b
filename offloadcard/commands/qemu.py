"""``offloadcard qemu``: guests of an unmodified QEMU on the card; see ``sim/qemu``."""

import time
from pathlib import Path

from .console import console
from .errors import CommandError
from .guests import building, config_of, introduce, progress, terminal
from .late import late

__all__ = ["run"]

_PF = "a guest of QEMU has virtual functions (netN, nvmeN), not {}"


def _script(path, show):
    """The script that is asked for, or two functions and a shell."""
    scripts, run_ = late("sim.linux.script"), late("sim.qemu.run")
    if path is not None and show is not None:
        raise CommandError("--script and --show must not be given together")
    if show is not None:
        shows = run_.shows()
        if show not in shows:
            raise CommandError(f"--show must be one of {', '.join(sorted(shows))}, not {show!r}")
        path = shows[show]
    if path is None:
        return scripts.Script(Path("shell"), functions=(("net0", "nvme0"),),
                              timeout=7 * 24 * 3600)
    try:
        script = scripts.read(path)
    except scripts.ScriptError as error:
        raise CommandError(str(error)) from None
    physical = next((name for guest in script.functions for name in guest
                     if name.startswith("pf")), None)
    if physical is not None:
        raise CommandError(_PF.format(physical))
    return script


def _fetch(program):
    with progress("fetching") as say:
        program.fetch(say=say)
    console.print(f"in {program.BUILD}", highlight=False)


def run(*, script, show, cpus, qemu, preset, fetch, pcap, out):
    """Fetch, or run the script, or give a shell; its exit code."""
    program = late("sim.qemu.program")
    try:
        if fetch:
            _fetch(program)
            return 0
        wanted = _script(script, show)
        if cpus is not None and cpus < 1:
            raise CommandError(f"--cpus must be at least 1, not {cpus}")
        config, shell = config_of(preset), script is None and show is None
        program.program(qemu)
        place = terminal() if shell else None
        return _play(wanted, config, shell=shell, terminal=place, cpus=cpus, qemu=qemu,
                     pcap=pcap, out=out)
    except program.QemuError as error:
        raise CommandError(str(error)) from None


def _play(wanted, config, *, shell, **options):
    build, run_ = late("sim.build"), late("sim.qemu.run")
    started = time.monotonic()
    if not shell:
        introduce(wanted)
    try:
        outcome = run_.play(wanted, config, shell=shell, **options, say=building)
    except build.BuildError as error:
        raise CommandError(str(error)) from None
    except build.RunError as error:
        console.print(f"the run failed: {error}", highlight=False, markup=False)
        return 1
    for guest, said in enumerate(() if shell else outcome.consoles):
        for text in said.splitlines():
            print(f"{guest}| {text}" if len(outcome.consoles) > 1 else text)
    report = outcome.report
    console.print(f"{report['clocks']} clocks of the card, "
                  f"{time.monotonic() - started:.1f} s of wall time; files in {outcome.out}",
                  highlight=False, markup=False, soft_wrap=True)
    return 0 if shell else outcome.code
