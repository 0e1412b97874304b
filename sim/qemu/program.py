"""QEMU, and a guest's kernel: the user's own, or Debian's unpacked below ``build/qemu``.

Nothing is installed. ``fetch`` asks the machine's own apt for packages of Debian, which checks
their signatures, and unpacks what is needed of them.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

from sim.build import ROOT
from sim.linux import needs

__all__ = ["BUILD", "GUEST", "OLDEST", "QemuError", "fetch", "kernel", "program"]

BUILD  = Path(os.environ.get("OFFLOADCARD_BUILD", ROOT / "build")) / "qemu"
OLDEST = (10, 1)  # the first with vfio-user
_NAME, _SUITES = "qemu-system-x86_64", ("trixie", "trixie-backports")
_KEYS  = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_ROMS  = ("bios-256k.bin", "linuxboot_dma.bin", "kvmvapic.bin")

GUEST = (needs.Need("/bin/busybox", "busybox-static"), needs.Need("cpio", "cpio"),
         needs.Need("ethtool", "ethtool"))
_FETCH = (needs.Need("apt-get", "apt"), needs.Need("dpkg-deb", "dpkg"),
          needs.Need(str(_KEYS), "debian-archive-keyring"))
_HINT = "offloadcard qemu --fetch unpacks Debian's below build/qemu"


class QemuError(RuntimeError):
    """Something is missing; the message is one line and says how to get it."""


def _version(path):
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30,
                              check=False).stdout
    except OSError as error:
        raise QemuError(f"--qemu must be a program, and {path} is none: {error.strerror}") from None
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found is None:
        raise QemuError(f"--qemu must be a QEMU, and {path} does not say its version")
    return tuple(map(int, found.groups()))


def program(path=None):
    """Path of a QEMU that knows vfio-user: ``path``, the fetched one, or the machine's own."""
    if path is not None:
        found = [Path(path).resolve()]
    else:
        found = [p for p in (BUILD / "program" / _NAME, shutil.which(_NAME)) if p]
    versions = []
    for one in found:
        if path is None and not Path(one).exists():
            continue
        version = _version(one)
        if version >= OLDEST:
            return Path(one)
        versions.append("{}.{}".format(*version))
    has = f", not {versions[-1]}" if versions else ""
    raise QemuError("QEMU must be {}.{} or newer{}; give --qemu PATH, or {}".format(
        *OLDEST, has, _HINT))


def kernel():
    """``(vmlinuz, folder of modules)`` of the fetched kernel."""
    images = sorted((BUILD / "kernel/boot").glob("vmlinuz-*"))
    if not images:
        raise QemuError(f"a guest's kernel is missing; {_HINT}")
    version = images[-1].name.removeprefix("vmlinuz-")
    return images[-1], BUILD / "kernel/lib/modules" / version


@contextlib.contextmanager
def _locked():
    BUILD.mkdir(parents=True, exist_ok=True)
    with open(BUILD / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def fetch(*, say=None):
    """Get QEMU and a kernel by apt and unpack them; what is there is kept.

    Parameters
    ----------
    say : callable
        Told each step as ``say(text, done)``, where ``done`` runs from 0 to 1.
    """
    say = say or (lambda text, done: None)
    packages = needs.missing(_FETCH)
    if packages:
        raise QemuError(f"fetching needs apt, and is without {' '.join(packages)}")
    with _locked():
        work = BUILD / "work"
        shutil.rmtree(work, ignore_errors=True)
        if not (BUILD / "kernel/boot").exists():
            say("a kernel", 0.0)
            _fetch_kernel(work)
        if not (BUILD / "program" / _NAME).exists():
            say("QEMU: lists", 0.2)
            options = _apt_options(work)
            _call(["apt-get", *options, "update"], work)
            say("QEMU: packages", 0.4)
            _call(["apt-get", *options, "-t", _SUITES[1], "-y", "--download-only", "install",
                   "qemu-system-x86"], work)
            say("QEMU: unpacking", 0.8)
            _unpack_qemu(work)
        shutil.rmtree(work, ignore_errors=True)
        say("done", 1.0)


def _call(command, folder):
    done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True,
                          text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise QemuError(f"{command[0]} failed: {(lines or ['?'])[-1].strip()}")
    return done.stdout


def _fetch_kernel(work):
    """The machine's own distribution's stock kernel."""
    work.mkdir(parents=True)
    depends = _call(["apt-cache", "depends", "linux-image-amd64"], work)
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found is None:
        raise QemuError("this machine's apt knows no linux-image-amd64 (apt-get update?)")
    _call(["apt-get", "download", found.group(1)], work)
    archive = next(work.glob("linux-image-*.deb"))
    _call(["dpkg-deb", "-x", archive, BUILD / "kernel.new"], work)
    shutil.rmtree(BUILD / "kernel", ignore_errors=True)
    (BUILD / "kernel.new").rename(BUILD / "kernel")
    shutil.rmtree(work)


def _apt_options(work):
    """An apt of its own lists, cache and state; the mirror and the keys are the machine's."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    mirror = "http://deb.debian.org/debian"
    for source in Path("/etc/apt").glob("sources.list.d/*.sources"):
        found = re.search(r"^URIs:\s*(\S+/debian)/?\s*$", source.read_text(), re.M)
        mirror = found.group(1) if found else mirror
    (work / "sources.list").write_text("".join(
        f"deb [signed-by={_KEYS}] {mirror} {suite} main\n" for suite in _SUITES))
    return ["-qq", *(f"-o{name}={value}" for name, value in {
        "Dir::Etc::sourcelist": work / "sources.list", "Dir::Etc::sourceparts": "-",
        "Dir::State::Lists": work / "lists", "Dir::Cache": work / "cache",
        "Dir::State::status": work / "status", "Acquire::Languages": "none",
        "APT::Install-Recommends": "false", "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root" if os.getuid() == 0 else Path.home().owner(),
        "Debug::NoLocking": "1"}.items())]


def _unpack_qemu(work):
    """The program, the libraries that it is linked to, the firmware for a PC; and a starter."""
    tree, made = work / "tree", work / "program"
    tree.mkdir()
    for archive in (work / "cache/archives").glob("*.deb"):
        _call(["dpkg-deb", "-x", archive, tree], work)
    for folder in ("lib", "bin", "firmware"):
        (made / folder).mkdir(parents=True)
    loader = made / "lib/ld-linux-x86-64.so.2"
    shutil.copy(tree / "usr/lib64/ld-linux-x86-64.so.2", loader)
    shutil.copy(tree / "usr/bin" / _NAME, made / "bin" / _NAME)
    libraries = tree / "usr/lib/x86_64-linux-gnu"
    listed = _call([loader, "--library-path", libraries, "--list", made / "bin" / _NAME], work)
    for library in re.findall(r"=> (/\S+)", listed):
        if Path(library).name != loader.name:
            shutil.copy(library, made / "lib")
    for name in _ROMS:
        found = next((p for p in (tree / "usr/share").rglob(name) if p.exists()), None)
        if found is None:
            raise QemuError(f"Debian's QEMU packages lack {name}")
        shutil.copy(found.resolve(), made / "firmware" / name)
    starter = made / _NAME
    starter.write_text(
        "#!/bin/sh\nhere=$(dirname \"$(readlink -f \"$0\")\")\n"
        "export QEMU_MODULE_DIR=\"$here/lib\"\n"
        f"exec \"$here/lib/{loader.name}\" --library-path \"$here/lib\" "
        f"\"$here/bin/{_NAME}\" -L \"$here/firmware\" \"$@\"\n")
    starter.chmod(0o755)
    shutil.rmtree(BUILD / "program", ignore_errors=True)
    made.rename(BUILD / "program")
