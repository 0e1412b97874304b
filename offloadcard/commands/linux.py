"""``offloadcard linux``: a real Linux drives the card in virtual time; see ``sim/linux``."""

import time
from pathlib import Path

from .console import console
from .errors import CommandError
from .guests import building, config_of, introduce, progress, terminal
from .late import late

__all__ = ["run"]


def _script(path, guests, cards, config):
    scripts = late("sim.linux.script")
    if path is not None:
        try:
            script = scripts.read(path)
            script.check(config)
        except scripts.ScriptError as error:
            raise CommandError(str(error)) from None
        if guests is not None and guests != len(script.functions):
            raise CommandError(f"--guests must be {len(script.functions)} as the script says, "
                               f"not {guests}")
        if cards not in (None, 1 + bool(script.cards)):
            raise CommandError(f"--cards must be {1 + bool(script.cards)} as the script says, "
                               f"not {cards}")
        return script
    if cards not in (None, 1, 2):
        raise CommandError(f"--cards must be 1 or 2, not {cards}")
    if cards == 2 and guests not in (None, 2):
        raise CommandError(f"--guests must be 2 with two cards, not {guests}")
    guests = cards if guests is None else guests
    wanted = {None: (("pf0", "pf1"),), 1: (("pf0", "pf1"),),
              2: (("net0", "nvme0"), ("net1", "nvme1"))}
    if guests not in wanted:
        raise CommandError(f"--guests must be 1 or 2, not {guests}")
    return scripts.Script(Path("shell"), functions=wanted[guests],
                          cards=(0, 1) if cards == 2 else (), timeout=7 * 24 * 3600)


def _file(option, path):
    """Where a file will be written in the end: known before the run begins."""
    if path is None:
        return None
    path = Path(path).resolve()
    if path.is_dir() or not path.parent.is_dir():
        raise CommandError(f"{option} must be a file in a folder that exists, not {path}")
    return path


def run(*, script, guests, cards, preset, kernel, seed, waves, pcap, mmio_ns, interrupt_ns, out,
        table):
    """Run the script, or give a shell; its exit code."""
    if table:
        for module in (late("sim.linux.table"), late("sim.linux.walk")):
            console.print(f"{module.DOCUMENT.name} "
                          + ("is written" if module.write() else "is as it was"))
        return 0
    config = config_of(preset)
    wanted = _script(script, guests, cards, config)
    waves, pcap = _file("--waves", waves), _file("--pcap", pcap)
    shell = script is None
    place = terminal() if shell else None
    kernels, play, build = (late("sim.linux.kernel"), late("sim.linux.play"), late("sim.build"))
    started = time.monotonic()
    try:
        with progress("Linux") as say:
            program = kernels.kernel(kernel, say=say)
        if not shell:
            introduce(wanted)
        many = len(wanted.functions) > 1

        def follow(guest, line):
            print(f"{guest}| {line}" if many else line, flush=True)

        outcome = play.play(
            wanted, config, program, shell=shell, terminal=place, out=out,
            follow=None if shell else follow, seed=seed, mmio_ns=mmio_ns,
            interrupt_ns=interrupt_ns, waves=waves, pcap=pcap, say=building)
    except (kernels.KernelError, build.BuildError) as error:
        raise CommandError(str(error)) from None
    except build.RunError as error:
        console.print(f"the run failed: {error}", highlight=False, markup=False)
        return 1
    report, wall = outcome.report, time.monotonic() - started
    virtual = report["virtual_ns"] / 1e9
    console.print(f"{virtual:.6f} s of virtual time, {report['clocks']} clocks of the card, "
                  f"{wall:.1f} s of wall time ({report['wall_s'] / virtual:.1f} s a virtual "
                  f"second); trace {report['trace']}; files in {outcome.out}",
                  highlight=False, markup=False, soft_wrap=True)
    if not shell:
        play.record(wanted, config, outcome, seed=seed)
    return outcome.code
