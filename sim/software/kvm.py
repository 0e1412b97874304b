"""What an exit of a guest costs: a loop of KVM that leaves the guest each time round.

A card with its own functions is reached without exits; an emulated device pays one a doorbell. A
figure counts only where its controls pass: the exits counted are those of the loop, and a loop
without exits is far faster, which it is not where a nested KVM interprets the guest's code.
"""

import subprocess
import tempfile
from pathlib import Path

from .measure import REPEATS, Skip, figure

__all__ = ["NAME", "TITLE", "KINDS", "code", "cost", "counted", "made", "measure", "once"]

NAME, TITLE = "kvm", "exits of a guest of KVM"
FIRST = 2_000  # rounds, to find how many are enough
NATIVE_NS = 50  # the most that a round of three instructions may take; interpreted, it is 1000s

# Kind -> its title, the instruction that leaves the guest, whether an event is bound to the memory
# it writes, and which of the three counts it raises.
KINDS = {
    "none": ("no exit", "90", 0, None),  # nop
    "port": ("port write to a program", "e610", 0, 0),  # out 0x10, al
    "memory": ("memory write to a program", "88042500800000", 0, 1),  # mov [0x8000], al
    "doorbell": ("memory write to an event (ioeventfd)", "88042500800000", 1, 2),
}


def code(kind, rounds):
    """A guest's octets: ``mov ecx, rounds``; the kind's instruction, ``dec``, ``jnz``; ``hlt``."""
    if not 1 <= rounds < 1 << 32:
        raise ValueError(f"`rounds` must be 1 to {(1 << 32) - 1}, not {rounds!r}")
    body = bytes.fromhex(KINDS[kind][1]) + bytes.fromhex("ffc9")
    back = bytes([0x75, 0x100 - len(body) - 2])
    return b"\xB9" + rounds.to_bytes(4, "little") + body + back + b"\xF4"


def made(folder):
    """The program that runs a guest, compiled into ``folder``."""
    program = Path(folder, "kvm")
    try:
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program),
                        str(Path(__file__).with_suffix(".c"))],
                       check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Skip("gcc is not installed", "apt install gcc libc6-dev linux-libc-dev") from None
    except subprocess.CalledProcessError as error:
        raise Skip(f"gcc failed: {error.stderr[-300:]}",
                   "apt install gcc libc6-dev linux-libc-dev") from None
    return program


def counted(kind, rounds, line):
    """``(ns on a core, ns waiting)`` of a run, once its counts are the loop's."""
    run, wait, *counts, left = (int(word) for word in line.split())
    expected = [rounds if place == KINDS[kind][3] else 0 for place in range(3)]
    if counts != expected or left:
        raise Skip(f"{kind}: {rounds} rounds counted {counts}, not {expected}; {left} were left")
    return run, wait


def once(program, kind, rounds):
    """Run a guest: ``(ns on a core, ns waiting)``."""
    try:
        done = subprocess.run([str(program), code(kind, rounds).hex(), str(KINDS[kind][2])],
                              capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        raise Skip(f"{kind}: the guest did not halt within 120 s") from None
    if done.returncode:
        raise Skip(done.stderr.strip()[-200:], "a machine with /dev/kvm, and leave to open it")
    return counted(kind, rounds, done.stdout)


def cost(ns, empty_ns, rounds):
    """Nanoseconds of an exit: the loop with less the loop without; :class:`Skip` if too alike."""
    if empty_ns > NATIVE_NS * rounds:
        raise Skip(f"KVM interprets a guest here: {empty_ns / rounds:.0f} ns a round without exits")
    if ns < 4 * empty_ns:
        raise Skip(f"exits are not seen: {ns} ns with them, {empty_ns} ns without")
    return (ns - empty_ns) / rounds


def measure(*, seconds=1.0, repeats=REPEATS):
    """Nanoseconds of each kind of exit."""
    results = []
    with tempfile.TemporaryDirectory(prefix="oc-kvm-") as folder:
        program = made(folder)
        for kind in list(KINDS)[1:]:
            first, _ = once(program, kind, FIRST)
            rounds = max(FIRST, min(10**8, int(seconds * 1e9 * FIRST / max(first, 1))))
            empty = [once(program, "none", rounds)[0] for _ in range(repeats)]
            runs = [once(program, kind, rounds) for _ in range(repeats)]
            costs = [cost(run, max(empty), rounds) for run, _ in runs]
            results.append(figure(
                f"{NAME}-{kind}", f"KVM, {KINDS[kind][0]}, ns an exit", "ns", costs,
                waits=[wait / (run + wait) for run, wait in runs], versions={}, rounds=rounds,
                empty_ns=max(empty) / rounds))
    return results
