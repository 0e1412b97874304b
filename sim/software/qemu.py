"""QEMU's device models without a guest: what one operation costs the thread that emulates.

The rings lie in memory that QEMU shares; only doorbells go through its test socket, which is slow,
so the figure is the slope over the size of a batch: the doorbell's cost falls out.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .measure import REPEATS, Skip, figure, skipped, wait_for

__all__ = ["NAME", "TITLE", "KINDS", "measure", "slope"]

NAME, TITLE = "qemu", "QEMU's device models, no guest"
INSTALL = "apt install qemu-system-x86 gcc libc6-dev"
QEMU = "qemu-system-x86_64"
MEMORY = 256 << 20
DISK = "driver=null-co,node-name=disk,size=1073741824,read-zeroes=off"
LEGACY = "addr=5,disable-modern=on,disable-legacy=off"

# A hub port alone would never complete a frame: the hub has a second one.
KINDS = {
    "nvme": ("MIOPS", "QEMU nvme, 4 KiB reads of a null disk, one core", (16, 1024),
             ["-blockdev", DISK, "-device", "nvme,drive=disk,serial=x,addr=5"]),
    "virtio-blk": ("MIOPS", "QEMU virtio-blk, 4 KiB reads of a null disk, one core", (16, 340),
                   ["-blockdev", DISK, "-device",
                    f"virtio-blk-pci,drive=disk,queue-size=1024,{LEGACY}"]),
    "virtio-net": ("Mpps", "QEMU virtio-net, transmit of 60 octets, one core", (16, 256),
                   ["-netdev", "hubport,id=net,hubid=0", "-netdev", "hubport,id=peer,hubid=0",
                    "-device", f"virtio-net-pci,netdev=net,{LEGACY}"]),
}


def slope(rows):
    """CPU seconds of one operation, from ``(batch, rounds, seconds, waiting)`` of two sizes."""
    (small, times, cpu, _), (large, other_times, other_cpu, _) = rows
    if small == large:
        raise ValueError(f"`rows` must be of two sizes of batches, not of {small} only")
    return (other_cpu / other_times - cpu / times) / (large - small)


def _halted(path):
    """A firmware that does nothing: ``cli; hlt; jmp`` at the reset vector."""
    rom = bytearray(b"\xF4" * 65_536)
    rom[0xFFF0:0xFFF4] = bytes.fromhex("faf4ebfd")
    path.write_bytes(rom)


def _one(kind, driver, folder, seconds, repeats):
    unit, title, batches, device = KINDS[kind]
    share, socket = f"/dev/shm/oc-qtest-{os.getpid()}", folder / "socket"
    _halted(folder / "halt.bin")
    with open(share, "wb") as file:
        file.truncate(MEMORY)
    line = [QEMU, "-M", "q35,memory-backend=ram", "-accel", "tcg", "-m", "256M", "-nodefaults",
            "-display", "none", "-bios", str(folder / "halt.bin"), "-object",
            f"memory-backend-file,id=ram,size=256M,mem-path={share},share=on",
            "-qtest", f"unix:{socket},server=on,wait=off", "-qtest-log", "none", *device]
    log = (folder / "log").open("wb")
    process = subprocess.Popen(line, stdout=log, stderr=log)
    try:
        wait_for(lambda: socket.exists() or process.poll() is not None, "QEMU's test socket")
        if process.poll() is not None:
            raise Skip(f"QEMU ended: {(folder / 'log').read_text()[-300:].strip()}")
        done = subprocess.run(
            [driver, str(socket), share, str(process.pid), kind, str(seconds),
             *(str(batch) for _ in range(repeats) for batch in batches)],
            capture_output=True, text=True, timeout=60 + 10 * seconds * repeats * len(batches),
            check=False)
        if done.returncode:
            raise Skip(done.stderr.strip()[-300:])
    finally:
        process.terminate()
        process.wait(10)
        os.unlink(share)
    rows = [tuple(float(word) for word in row.split()) for row in done.stdout.splitlines()]
    pairs = list(zip(rows[::2], rows[1::2]))
    costs = [slope(pair) for pair in pairs]
    if min(costs) <= 0:
        raise Skip("the machine was too busy: a larger batch took less time than a small one")
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    return figure(f"{NAME}-{kind}", title, unit, [1e-6 / cost for cost in costs],
                  waits=[row[3] / (row[2] + row[3]) for row in rows], batches=list(batches),
                  versions={"qemu": version.stdout.split()[3]})


def measure(*, seconds=1.0, repeats=REPEATS, kinds=tuple(KINDS)):
    """A figure for each device model."""
    for program in (QEMU, "gcc"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed", INSTALL)
    results = []
    with tempfile.TemporaryDirectory(prefix="oc-qemu-") as name:
        folder = Path(name)
        driver = folder / "qtest"
        made = subprocess.run(
            ["gcc", "-O2", "-Wall", "-o", str(driver), str(Path(__file__).with_name("qtest.c"))],
            capture_output=True, text=True, check=False)
        if made.returncode:
            raise Skip(f"gcc failed: {made.stderr[-300:]}", INSTALL)
        for kind in kinds:
            place = folder / kind
            place.mkdir()
            try:
                results.append(_one(kind, str(driver), place, seconds, repeats))
            except Skip as skip:
                results.append(skipped(f"{NAME}-{kind}", KINDS[kind][1], skip))
    return results
