"""Exits for each block read of a real Linux guest in QEMU: what a hypervisor is called for.

A guest reads blocks one by one, past its cache. Each doorbell it rings leaves the guest, which
QEMU's own trace tells; each interrupt must be put into it, which the guest's kernel counts. Two
boots that read different numbers of blocks differ by the reads alone. It is a count, not a time:
it holds on any machine.
"""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from sim.software.measure import Skip, figure
from sim.software.qemu import QEMU

from .guest import MODULES, initrd
from .program import QemuError, kernel

__all__ = ["NAME", "TITLE", "KINDS", "counted", "measure", "per_read"]

NAME, TITLE = "exits", "exits of a real Linux guest"
READS = (200, 600, 1000)  # blocks of a boot; each differs from the one before
DISK = "driver=null-co,node-name={0},size=1073741824,read-zeroes=off"

# Device -> its file in the guest, the trace of its doorbells, its name among the interrupts.
KINDS = {
    "nvme": ("/dev/nvme0n1", ("pci_nvme_mmio_doorbell_sq", "pci_nvme_mmio_doorbell_cq"), "nvme"),
    "virtio-blk": ("/dev/vda", ("virtio_queue_notify",), "virtio"),
}
INTERRUPTS = """interrupts() {
    awk -v name="$1" '$NF ~ name { for (n = 2; n <= NF; n++) if ($n ~ /^[0-9]+$/) sum += $n }
        END { print sum + 0 }' /proc/interrupts
}
"""


def counted(trace, console):
    """How often each event stands in QEMU's trace; by device, what the guest's kernel counted."""
    events = Counter(found[1] for found in re.finditer(r"^(?:\d+@[\d.]+:)?(\w+) ", trace, re.M))
    for kind, before, after in re.findall(r"^INTERRUPTS (\S+) (\d+) (\d+)", console, re.M):
        events[kind] = int(after) - int(before)
    return events


def per_read(kind, boots):
    """``(doorbells, interrupts)`` of one read for each step of ``{reads: counts}``."""
    steps = sorted(boots)
    if len(steps) < 2:
        raise ValueError(f"`boots` must be two or more, not {len(steps)}")
    return [tuple(sum(boots[more][event] - boots[less][event] for event in events)
                  / (more - less) for events in (KINDS[kind][1], (kind,)))
            for less, more in zip(steps, steps[1:])]


def _boot(vmlinuz, reads, folder):
    script = folder / "script"
    script.write_text(INTERRUPTS + "".join(
        f"before=$(interrupts {name})\n"
        f"dd if={device} of=/dev/null bs=4096 count={reads} iflag=direct\n"
        f"echo INTERRUPTS {kind} $before $(interrupts {name})\n"
        for kind, (device, _, name) in KINDS.items()))
    initrd(script, folder / "initrd", folder, modules=(*MODULES, "virtio_blk"))
    trace = folder / "trace"
    line = [QEMU, "-M", "q35", "-accel", "tcg", "-m", "256M", "-nodefaults", "-no-reboot",
            "-display", "none", "-serial", "stdio", "-kernel", str(vmlinuz), "-initrd",
            str(folder / "initrd"), "-append", "console=ttyS0 quiet panic=-1 GUEST=0 GUESTS=1",
            "-D", str(trace)]
    for node, device in (("d0", "nvme,serial=x"), ("d1", "virtio-blk-pci")):
        line += ["-blockdev", DISK.format(node), "-device", f"{device},drive={node}"]
    for _, events, _ in KINDS.values():
        for event in events:
            line += ["-trace", event]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    except FileNotFoundError:
        raise Skip(f"{QEMU} is missing", "apt install qemu-system-x86") from None
    except subprocess.TimeoutExpired:
        raise Skip("the guest did not end within 300 s") from None
    if "EXIT 0" not in done.stdout:
        raise Skip(f"the guest's reads failed: {(done.stdout + done.stderr).strip()[-200:]}")
    return counted(trace.read_text(), done.stdout.replace("\r", ""))


def measure(*, seconds=None, repeats=None):
    """Exits of each kind of device; ``seconds`` and ``repeats`` are not needed for counts."""
    try:
        vmlinuz, modules = kernel()
        with tempfile.TemporaryDirectory() as work:
            boots = {}
            for reads in READS:
                folder = Path(work, str(reads))
                folder.mkdir()
                boots[reads] = _boot(vmlinuz, reads, folder)
    except QemuError as error:
        raise Skip(str(error), "offloadcard qemu --fetch") from None
    version = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True)
    results = []
    for kind in KINDS:
        steps = per_read(kind, boots)
        results.append(figure(
            f"{NAME}-{kind}", f"QEMU {kind} in a Linux guest, exits a 4 KiB read at depth 1",
            "exits", [sum(step) for step in steps], waits=[],
            doorbells=[step[0] for step in steps], interrupts=[step[1] for step in steps],
            versions={"qemu": version.stdout.split()[3], "guest": Path(modules).name}))
    return results
