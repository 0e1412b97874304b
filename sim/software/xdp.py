"""XDP by the kernel's own test run: nanoseconds a packet of one flow entry's work, as root."""

import json
import os
import platform
import re
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from .measure import REPEATS, Skip, figure, last_core
from .traffic import flows as packets_of

__all__ = ["NAME", "TITLE", "SIZES", "measure"]

NAME, TITLE = "xdp", "XDP test run: lookup, meter, counters, NAT, TTL; no encapsulation"
INSTALL = "apt install clang bpftool libbpf-dev linux-libc-dev; then run as root"
SIZES = (1, 1_000, 100_000)
PACKETS = 1_000_000


def _call(*line):
    """What a program said, and the share of the time that it was not on a core."""
    before, start = os.times(), time.monotonic()
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    except FileNotFoundError as missing:
        raise Skip(f"{missing.filename} is not installed", INSTALL) from None
    if done.returncode:
        raise Skip(f"{' '.join(line[:3])} failed: {(done.stderr or done.stdout).strip()[-300:]}",
                   INSTALL)
    after, wall = os.times(), time.monotonic() - start
    busy = (after.children_user - before.children_user
            + after.children_system - before.children_system)
    return done.stdout, max(0.0, 1 - busy / wall)


def _entries(folder, number, packet, map_id):
    """Commands that fill the map with ``number`` flows."""
    ports = packet[34:36] + packet[36:38]
    lines = []
    for n in range(number):
        key = struct.pack("<II", 0, n) + ports + struct.pack("<I", 17)
        value = struct.pack("<QQQQII", 0, 0, 10 ** 8, 0, 0x0101_4064, 0)
        hexes = [" ".join(f"{octet:02x}" for octet in octets) for octets in (key, value)]
        lines.append(f"map update id {map_id} key hex {hexes[0]} value hex {hexes[1]}")
    file = folder / "entries"
    file.write_text("\n".join(lines) + "\n")
    return file


def _one(folder, pinned, number, repeats):
    packet, program = packets_of(1, 60)[0], folder / "flow.o"
    (folder / "packet").write_bytes(packet)
    _call("clang", "-O2", "-g", "-target", "bpf", f"-DFLOWS={number}",
          f"-I/usr/include/{platform.machine()}-linux-gnu", "-c", "-o", str(program),
          str(Path(__file__).with_name("flow.bpf.c")))
    pinned.unlink(missing_ok=True)
    _call("bpftool", "prog", "load", str(program), str(pinned))
    try:
        shown = json.loads(_call("bpftool", "-j", "prog", "show", "pinned", str(pinned))[0])
        entries = _entries(folder, number, packet, shown["map_ids"][0])
        _call("bpftool", "batch", "file", str(entries))
        runs, waits = [], []
        for _ in range(repeats):
            text, wait = _call("taskset", "-c", str(last_core()), "bpftool", "prog", "run",
                               "pinned", str(pinned), "data_in", str(folder / "packet"),
                               "repeat", str(PACKETS))
            verdict = re.search(r"Return value: (\d+)", text)
            nanoseconds = re.search(r"(\d+)ns", text)
            if not verdict or int(verdict[1]) != 3 or not nanoseconds:
                raise Skip(f"the program must send the packet: {text.strip()[-200:]}")
            runs.append(1000 / max(1, int(nanoseconds[1])))
            waits.append(wait)
    finally:
        pinned.unlink(missing_ok=True)
    version = re.search(r"version (\S+)", _call("clang", "--version")[0])
    return figure(f"{NAME}-{number}", f"XDP, lookup and rewrite, {number} flows, one core", "Mpps",
                  runs, waits=waits, flows=number, octets=60,
                  versions={"clang": version[1] if version else "", "kernel": platform.release()},
                  note="test run of the kernel: no driver, no descriptor, wall time")


def measure(*, repeats=REPEATS, sizes=SIZES, **_):
    """Figures for each number of flows."""
    for program in ("clang", "bpftool"):
        if not shutil.which(program):
            raise Skip(f"{program} is not installed", INSTALL)
    if os.getuid():
        raise Skip("a test run needs root", INSTALL)
    with tempfile.TemporaryDirectory(prefix="oc-xdp-") as name:
        folder = Path(name)
        pins = folder / "bpf"
        pins.mkdir()
        _call("mount", "-t", "bpf", "bpf", str(pins))  # a place of our own, for this run
        try:
            return [_one(folder, pins / "flow", number, repeats) for number in sizes]
        finally:
            _call("umount", str(pins))
