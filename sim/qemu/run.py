"""Boot guests of QEMU against the card: from a script to what came of it."""

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sim import build

from . import program
from .guest import initrd

__all__ = ["Outcome", "line", "play"]

_SOCKETS = Path("/dev/shm")  # a socket's path must be short
_PATIENCE_MS = 600_000       # of QEMU, for one answer of the card


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes
    ----------
    codes : tuple of int or None
        Of each guest's script; ``None`` where the guest ended without one.
    report : dict
        ``clocks``, ``counts``, ``messages``, ``interrupts``, ``codes`` (of the processes), ...
    consoles : tuple of str
    out : Path
        Folder with the guests' consoles.
    """
    codes:    tuple
    report:   dict
    consoles: tuple
    out:      Path

    @property
    def code(self):
        """Of the whole run: the first that is not 0; 1 where a guest has none."""
        return next((1 if code is None else code for code in self.codes if code != 0), 0)


def line(qemu, sockets, *, cpus=1, memory="256M", boot=(), devices=(), accelerator="tcg"):
    """The command line of one QEMU.

    Parameters
    ----------
    qemu : Path
    sockets : list of (Path, dict)
        Of each function: its socket, and further properties of ``vfio-user-pci``.
    cpus : int
    memory : str
    boot, devices : list of str
        Further words: what is booted, what else the machine has.
    """
    words = [str(qemu), "-M", "q35,memory-backend=memory", "-cpu", "max",
             "-accel", accelerator + (",thread=multi" if accelerator == "tcg" else ""),
             "-m", memory, "-smp", str(cpus),
             "-object", f"memory-backend-memfd,id=memory,size={memory},share=on",
             "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"]
    for number, (path, extra) in enumerate(sockets, 1):
        properties = {"driver": "vfio-user-pci", "bus": f"port{number}",
                      "socket": {"type": "unix", "path": str(path)}, "rombar": 0,
                      "x-msg-timeout": _PATIENCE_MS, **extra}
        words += ["-device", f"pcie-root-port,id=port{number},chassis={number},slot={number}",
                  "-device", json.dumps(properties)]
    return [*words, *boot, *devices]


def play(script, config, *, qemu=None, cpus=None, out=None, terminal=None, shell=False, seed=1,
         quiet_clocks=1024, pcap=None, say=None):
    """Boot the guests of ``script``; the :class:`Outcome`.

    Parameters
    ----------
    script : sim.linux.script.Script
        Whose functions are virtual ones.
    config : CardConfig
    qemu : Path
    cpus : int
        Of each guest, instead of the script's.
    out : Path
        Folder for what the run leaves; made anew.
    terminal : Path
        Of the first guest's console, for a shell.
    """
    emulator = program.program(qemu)
    made = build.card_simulator(config, say=say)
    out = Path(out or program.BUILD / "runs" / script.name).resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    text = out / "script"
    text.write_text("" if shell else script.path.read_text())
    initrd(text, out / "initrd", out)
    image, _ = program.kernel()
    folder = _SOCKETS / f"oc-{time.monotonic_ns():x}"
    folder.mkdir()
    guests = []
    for guest, functions in enumerate(script.functions):
        append = f"console=ttyS0 quiet panic=-1 iomem=relaxed GUEST={guest} " \
                 f"GUESTS={len(script.functions)}"
        words = line(emulator, [(folder / name, {}) for name in functions],
                     cpus=cpus or script.cpus, memory=script.memory,
                     boot=["-kernel", str(image), "-initrd", str(out / "initrd"),
                           "-append", append])
        guests.append({"functions": functions, "line": words,
                       "hostile": guest in script.hostile,
                       "console": str(terminal if shell and guest == 0 else
                                      out / f"console{guest}")})
    given = {"config": asdict(config), "folder": str(folder), "seed": seed,
             "quiet_clocks": quiet_clocks, "networks": script.networks,
             "joined": [list(pair) for pair in script.joined], "drives": script.drives,
             "pcap": pcap and str(Path(pcap).resolve()), "tlp_log": None, "mmio_ns": 0,
             "interrupt_ns": 0, "guests": guests}
    try:
        report = build.run(made, "sim.qemu.session", arguments=given, timeout_s=script.timeout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    consoles = tuple(path.read_text(errors="replace") if path.exists() else "" for path in
                     (out / f"console{n}" for n in range(len(guests))))
    return Outcome(tuple(map(_code, consoles)), report, consoles, out)


def _code(console):
    found = re.findall(r"^EXIT (\d+)\s*$", console, re.M)
    return int(found[-1]) if found else None
