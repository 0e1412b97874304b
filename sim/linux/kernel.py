"""Linux's own source to a User-Mode Linux, built once and kept.

The source is the distribution's (package ``linux-source-VERSION``), unmodified; what goes in is
``uml.config`` beside this file, on top of ``allnoconfig``. The result lies below
``build/linux/kernel-VERSION-KEY``, where the key is made of the source, of
``uml.config``, and of the module in ``module/``, which is built beside it as ``hostile.ko``.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from sim.build import ROOT

from . import needs

__all__ = ["KernelError", "DEFAULT", "BUILD", "kernel", "available"]

DEFAULT  = "6.1"
BUILD    = Path(os.environ.get("OFFLOADCARD_BUILD", ROOT / "build")) / "linux"
SOURCES  = Path("/usr/src")
FRAGMENT = Path(__file__).resolve().parent / "uml.config"
MODULE   = Path(__file__).resolve().parent / "module"  # hostile.c

# Never compiled for User-Mode Linux; the configuration files among them are still read.
_LEFT_OUT = ("*/Documentation/*/*", "*/arch/[!ux]*.[chS]", "*/arch/*/boot/dts/*",
             "*/drivers/gpu/drm/*.[ch]", "*/drivers/media/*.c", "*/drivers/staging/*.c",
             "*/drivers/net/ethernet/*.[ch]", "*/drivers/net/wireless/*.[ch]", "*/sound/*.[ch]",
             "*/tools/testing/*", "*/tools/perf/*")

# Without these a kernel of one's own cannot stand on the card's bus and clock.
_NEEDED = ("CONFIG_UML_TIME_TRAVEL_SUPPORT=y", "CONFIG_UML_PCI_OVER_VIRTIO=y",
           "CONFIG_UML_PCI_OVER_VIRTIO_DEVICE_ID=1234", "CONFIG_HOSTFS=y")

_OBJECTS = 1500  # compiled files, about: only the progress line wants to know


class KernelError(RuntimeError):
    """No kernel; the message is one line and names what is missing."""


def available():
    """Versions whose source package is installed."""
    found = (re.fullmatch(r"linux-source-(.+)\.tar\.xz", path.name)
             for path in SOURCES.glob("linux-source-*.tar.xz"))
    return sorted(match.group(1) for match in found if match)


def kernel(version=DEFAULT, *, say=None):
    """Path of the ``linux`` program of this version, built if it is not there.

    Parameters
    ----------
    version : str
        Of an installed source package, or the path of a User-Mode Linux built elsewhere.
    say : callable
        Told each step as ``say(text, done)``, where ``done`` runs from 0 to 1.
    """
    say = say or (lambda text, done: None)
    if "/" in str(version):
        path = Path(version)
        if not os.access(path, os.X_OK) or path.is_dir():
            raise KernelError(f"--kernel must be a version or a program, and {path} is no program")
        _ask(path)
        return path.resolve()
    source = SOURCES / f"linux-source-{version}.tar.xz"
    packages = needs.missing(needs.KERNEL)
    if not source.exists():
        packages.insert(0, f"linux-source-{version}")
    if packages:
        raise KernelError(f"Linux {version} needs packages that are missing; "
                          f"get them by: apt install {' '.join(packages)}")
    stat = source.stat()
    key = hashlib.sha256(f"{version} {stat.st_size} {int(stat.st_mtime)}\n".encode()
                         + FRAGMENT.read_bytes()
                         + (MODULE / "hostile.c").read_bytes()).hexdigest()[:12]
    folder = BUILD / f"kernel-{version}-{key}"
    program = folder / "linux"
    with _locked(folder):
        if not program.exists():
            _build(source, version, folder, say)
    return program


def _ask(path):
    """A User-Mode Linux tells its configuration: has it what the card's bus and clock need?"""
    try:
        said = subprocess.run([path.resolve(), "--showconfig"], capture_output=True, text=True,
                              errors="replace", timeout=10, check=False,
                              stdin=subprocess.DEVNULL).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        said = []
    lost = [word for word in _NEEDED if word not in said]
    if lost:
        raise KernelError(f"--kernel must be a User-Mode Linux with {', '.join(lost)}, "
                          f"which {path} does not show")


@contextlib.contextmanager
def _locked(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(source, version, folder, say):
    """Unpack, configure, compile, keep the program and its configuration, drop the rest."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    log = folder / "log"
    log.unlink(missing_ok=True)
    say(f"unpacking Linux {version}", 0.0)
    _call(log, work, ["tar", "xJf", source, *(f"--exclude={name}" for name in _LEFT_OUT)])
    tree = next(path for path in work.iterdir() if path.is_dir())
    objects = work / "objects"
    objects.mkdir()
    make = ["make", "-C", tree, "ARCH=um", f"O={objects}"]
    _call(log, work, [*make, f"KCONFIG_ALLCONFIG={FRAGMENT}", "allnoconfig"])
    _check(objects / ".config")
    count = 0

    def line(text):
        nonlocal count
        if re.match(r"\s+(CC|AS|HOSTCC)\s", text):
            count += 1
            say(f"building Linux {version}: {count} files", min(0.99, count / _OBJECTS))

    jobs = os.environ.get("OFFLOADCARD_JOBS", str(os.cpu_count() or 1))
    _call(log, work, [*make, f"-j{jobs}", "linux", "modules"], line)
    shutil.copytree(MODULE, work / "module")
    _call(log, work, [*make, f"M={work / 'module'}", "modules"])
    shutil.copy(work / "module/hostile.ko", folder)
    shutil.copy(objects / ".config", folder / "config")
    subprocess.run(["strip", "-o", folder / "linux.new", objects / "linux"], check=True)
    os.replace(folder / "linux.new", folder / "linux")
    shutil.rmtree(work)
    say(f"Linux {version} is built", 1.0)


def _check(path):
    """Did the configuration take every word of ours? A version may have dropped one."""
    config = set(path.read_text().splitlines())
    for line in FRAGMENT.read_text().splitlines():
        name, _, value = line.partition("=")
        if not name.startswith("CONFIG_"):
            continue
        lost = (any(other.startswith(f"{name}=") for other in config) if value == "n"
                else line not in config)
        if lost:
            raise KernelError(f"{FRAGMENT.name} wants {line}, which this kernel does not know")


def _call(log, folder, command, line=None):
    """Run a step, keep what it says, show each line to ``line``."""
    with open(log, "a") as out, subprocess.Popen(
            [str(part) for part in command], cwd=folder, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as process:
        for text in process.stdout:
            out.write(text)
            if line is not None:
                line(text)
    if process.returncode:
        last = [text for text in log.read_text(errors="replace").splitlines() if "rror" in text]
        raise KernelError(f"building the kernel failed, see {log}: {(last or ['?'])[0].strip()}")
