"""Boot guests of QEMU against the card: from a script to what came of it."""

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sim import build
from sim.linux import needs

from . import boot_sector, disk, program
from .guest import initrd

__all__ = ["Outcome", "line", "missing", "play", "shows"]

_NETWORK_ROM = "/usr/lib/ipxe/qemu/pxe-virtio.rom"
_NEEDS = {"kernel": program.GUEST, "drive": (), "os": disk.NEEDS,
          "network": (needs.Need(_NETWORK_ROM, "ipxe-qemu"),)}
_LINUX = ("kernel", "os")
_SOCKETS = Path("/dev/shm")  # a socket's path must be short
_PATIENCE_MS = 600_000       # of QEMU, for one answer of the card


def shows():
    """Our own scripts by name."""
    return {path.stem: path for path in (Path(__file__).parent / "shows").glob("*.sh")}


def missing(script):
    """What the machine lacks for a script, one line each."""
    lines = []
    for wanted in (program.program, *([program.kernel] if script.boot in _LINUX else [])):
        try:
            wanted()
        except program.QemuError as error:
            lines.append(str(error))
    packages = needs.missing(_NEEDS[script.boot])
    return lines + ([f"apt install {' '.join(packages)}"] if packages else [])


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


def line(qemu, sockets, *, cpus=1, memory="256M", boot=(), console="stdio", accelerator="tcg"):
    """The command line of one QEMU.

    Parameters
    ----------
    qemu : Path
    sockets : list of (Path, dict)
        Of each function: its socket, and further properties of ``vfio-user-pci``.
    cpus : int
    memory : str
    boot : list of str
        Further words: what is booted.
    console : str
        What QEMU calls the serial port's other end; ``mon:stdio`` hands Ctrl-C on.
    """
    words = [str(qemu), "-M", "q35,memory-backend=memory", "-cpu", "max",
             "-accel", accelerator + (",thread=multi" if accelerator == "tcg" else ""),
             "-m", memory, "-smp", str(cpus),
             "-object", f"memory-backend-memfd,id=memory,size={memory},share=on",
             "-nodefaults", "-display", "none", "-serial", console, "-no-reboot", "-nic", "none"]
    for number, (path, extra) in enumerate(sockets, 1):
        properties = {"driver": "vfio-user-pci", "bus": f"port{number}",
                      "socket": {"type": "unix", "path": str(path)}, "rombar": 0,
                      "x-msg-timeout": _PATIENCE_MS, **extra}
        words += ["-device", f"pcie-root-port,id=port{number},chassis={number},slot={number}",
                  "-device", json.dumps(properties)]
    return [*words, *boot]


def play(script, config, *, qemu=None, cpus=None, out=None, terminal=None, shell=False, seed=1,
         pcap=None, say=None):
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
    drives = dict(script.drives)
    if script.boot in _LINUX:
        text = out / "script"
        text.write_text("" if shell else script.path.read_text())
        initrd(text, out / "initrd", out)
        if script.boot == "os":
            drives |= _systems(script, text, out)
    elif script.boot == "drive":
        drives |= _bootable(script, out)
    else:
        (out / "program").write_bytes(boot_sector.loaded_program("booted by network", 20_000))
    folder = _SOCKETS / f"oc-{time.monotonic_ns():x}"
    folder.mkdir()
    guests = []
    for guest, functions in enumerate(script.functions):
        words = line(emulator, [(folder / name, _extra(script, name))
                                for name in functions],
                     cpus=cpus or script.cpus, memory=script.memory,
                     boot=_boot(script, out, guest),
                     console="mon:stdio" if shell and guest == 0 else "stdio")
        guests.append({"functions": functions, "line": words,
                       "hostile": guest in script.hostile,
                       "console": str(terminal if shell and guest == 0 else
                                      out / f"console{guest}")})
    given = {"config": asdict(config), "folder": str(folder), "seed": seed,
             "networks": script.networks, "far": None, "fiend": [],
             "mtu": script.mtu, "refused": list(script.refused),
             "joined": [list(pair) for pair in script.joined], "drives": drives,
             "program": str(out / "program") if script.boot == "network" else None,
             "pcap": pcap and str(Path(pcap).resolve()), "tlp_log": None, "mmio_ns": 0,
             "interrupt_ns": 0, "guests": guests, "card": 0, "cable": None, "others": []}
    try:
        report = build.run(made, "sim.qemu.session", arguments=given, timeout_s=script.timeout)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    consoles = tuple(path.read_text(errors="replace") if path.exists() else "" for path in
                     (out / f"console{n}" for n in range(len(guests))))
    if script.boot == "drive":
        _copied(drives)
    if script.boot == "os":
        _answered(drives)
    codes = map(_code, consoles) if script.boot in _LINUX else map(_ended, report["codes"])
    return Outcome(tuple(codes), report, consoles, out)


def _boot(script, out, guest):
    """Words of the command line that say what is booted."""
    if script.boot == "os" and _drives(script, guest):
        return ["-machine", "graphics=off"]
    if script.boot in _LINUX:
        image, _ = program.kernel()
        return ["-kernel", str(image), "-initrd", str(out / "initrd"), "-append",
                _append(script, guest)]
    return ["-machine", "graphics=off", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]


def _append(script, guest):
    return ("console=ttyS0 quiet panic=-1 iomem=relaxed "
            f"GUEST={guest} GUESTS={len(script.functions)}")


def _drives(script, guest):
    return [name for name in script.functions[guest] if name.startswith("nvme")]


def _systems(script, text, out):
    """A file for the first drive of each guest that has one: an operating system is on it."""
    drives = {}
    for guest in range(len(script.functions)):
        for name in _drives(script, guest)[:1]:
            path = out / f"{name}.img"
            disk.make(path, text, out, append=_append(script, guest))
            drives[name] = str(path)
    return drives


def _answered(drives):
    """Did the systems read the file that we put there, and write what they should?"""
    for name, path in drives.items():
        found, wanted = disk.answer(path)
        if found != wanted:
            raise AssertionError(f"/answer of {name} must be {wanted}, not {found!r}")


def _extra(script, name):
    """Properties of a function's device: a NIC that boots brings its program with it."""
    return {"romfile": _NETWORK_ROM} if script.boot == "network" and name.startswith("net") else {}


def _bootable(script, out):
    """A file for each drive: the firmware finds a boot sector there."""
    drives = {}
    for function in (name for names in script.functions for name in names):
        if function.startswith("nvme"):
            path = out / f"{function}.img"
            path.write_bytes(boot_sector.drive_image(f"booted from {function}", 1 << 20))
            drives[function] = str(path)
    return drives


def _copied(drives):
    """Did the program's writes reach the drives?"""
    for name, path in drives.items():
        text, copy = (Path(path).read_bytes()[512 * first:512 * (first + boot_sector.LENGTH)]
                      for first in (boot_sector.TEXT, boot_sector.COPY))
        if text != copy:
            raise AssertionError(f"{name} must hold in sector {boot_sector.COPY} what it holds in "
                                 f"sector {boot_sector.TEXT}")


def _ended(code):
    """Of a guest without a kernel: its program says by QEMU's exit code how it went."""
    return 0 if code == boot_sector.SUCCESS else code or None


def _code(console):
    found = re.findall(r"^EXIT (\d+)\s*$", console, re.M)
    return int(found[-1]) if found else None
