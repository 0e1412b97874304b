"""Walks in time: what crossed the link while a Linux guest read a block, or pinged another.

The scripts ``walk_read.sh`` and ``walk_ping.sh`` leave a log of all TLPs; here the last whole
walk of each is found in it and written down in ``docs/walks/linux_timeline.md``.
"""

import json
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from sim.build import ROOT

from .kernel import BUILD

__all__ = ["DOCUMENT", "Step", "steps", "ping", "read", "write"]

DOCUMENT = ROOT / "docs/walks/linux_timeline.md"

_BAR_BIT   = 1 << 46       # the root port puts BARs there, far above any guest's memory
_DOORBELLS = 0x1000        # offset in BAR 0, of both kinds of devices
_MESSAGES  = 0xA_0000      # where the guest wants its MSI-X writes
_PAGE      = 4096          # octets of the read

# Where Linux puts the parts of a split virtqueue of 256: a page of descriptors, then this.
# Ref: virtio-1.2, 2.7 (Split Virtqueues)
_USED_EVENT  = 4 + 2 * 256
_USED        = 0x240
_AVAIL_EVENT = _USED + 4 + 8 * 256

_INTRODUCTION = """# Walks in time: Linux at work

Made by `offloadcard linux --table` from the logs of `walk_read.sh` and `walk_ping.sh`; not written
by hand. Times are nanoseconds of the one time line, at the link; in between, the guest's
instructions took none.
"""


class Step(NamedTuple):
    """Neighbours of one kind: what happened, how often, with how many octets in all."""
    ns:     float
    who:    int
    what:   str
    count:  int
    octets: int


def _down(kind, record):
    offset = record["address"] & 0xFFFF
    if record["fmt_type"] & 0x1F == 0x0A:
        return "the host's answer"
    write = record["fmt_type"] & 0x40
    if not record["address"] & _BAR_BIT or not write or offset < _DOORBELLS:
        return "register write" if write else "register read"
    number = (offset - _DOORBELLS) // 4
    if kind == "nvme":
        return f"doorbell: {'head of CQ' if number % 2 else 'tail of SQ'} {number // 2}"
    return f"notify: {'transmit' if number % 2 else 'receive'} queue {number}"


def _up(kind, record, rings):
    address, octets, write = record["address"], record["octets"], record["fmt_type"] & 0x40
    if record["fmt_type"] & 0x1F == 0x0A:
        return "the card's answer"
    if write and address & ~0xFFF == _MESSAGES:
        return "MSI-X message"
    verb = "card writes" if write else "card reads"
    if kind == "nvme":
        known = {16: "the completion queue entry"} if write else {64: "the submission queue entry"}
        return f"{verb} {known.get(octets, 'data')}"
    page, offset = address & ~0xFFF, address & 0xFFF
    if page + 0x1000 in rings and not write:
        return f"{verb} descriptors"
    if page not in rings:
        return f"{verb} a frame"
    if write:
        known, rest = {_USED: "the used index", _AVAIL_EVENT: "avail_event"}, "used elements"
    else:
        known, rest = {0: "the available index", _USED_EVENT: "used_event"}, "ring entries"
    return f"{verb} {known.get(offset, rest)}"


def _rings(records):
    """Pages that hold the rings: there the used index is written."""
    return {record["address"] & ~0xFFF for record in records
            if record["kind"] == "TLP_UP" and record["fmt_type"] & 0x40
            and record["address"] & 0xFFF == _USED and record["octets"] == 4}


def steps(kind, records):
    """The :class:`Step` list of a log; ``kind`` is "nvme" or "net"."""
    rings = _rings(records)

    def named():
        for record in records:
            match record["kind"]:
                case "TLP_DOWN":
                    yield record, _down(kind, record)
                case "TLP_UP":
                    yield record, _up(kind, record, rings)
                case "INTERRUPT":
                    yield record, "interrupt"

    found = []
    for (who, what), group in groupby(named(), key=lambda one: (one[0]["requester"], one[1])):
        group = [record for record, _ in group]
        found.append(Step(group[0]["ns"], who, what, len(group),
                          sum(record["octets"] for record in group)))
    return found


def read(found):
    """The last read of a page, from its doorbell to the doorbell that acknowledges it."""
    for end in range(len(found) - 1, -1, -1):
        if found[end].what != "card writes data" or found[end].octets != _PAGE:
            continue
        first = next(n for n in range(end, -1, -1) if found[n].what.startswith("doorbell: tail"))
        last = next(n for n in range(end, len(found)) if found[n].what.startswith("doorbell: head"))
        return found[first:last + 1]
    raise ValueError("the log must hold a read of a page")


def ping(found):
    """The last echo: from the notification to the interrupt of the guest that asked."""
    sent = [n for n, step in enumerate(found) if step.what.startswith("notify: transmit")]
    for back in reversed(sent):
        other = found[back].who
        ask = next((n for n in reversed(sent) if n < back and found[n].who != other), None)
        if ask is None:
            break
        who = found[ask].who
        heard = next((n for n in range(back, len(found))
                      if found[n].what == "interrupt" and found[n].who == who), None)
        if heard is not None:
            return found[ask:heard + 1]
    raise ValueError("the log must hold an echo")


def _table(found):
    names = {who: f"guest {n}" for n, who in enumerate(dict.fromkeys(step.who for step in found))}
    lines = ["| ns | function of | what | octets |", "|---:|---|---|---:|"]
    for step in found:
        times = f"{step.count} × " if step.count > 1 else ""
        lines.append(f"| {step.ns - found[0].ns:.0f} | {names[step.who]} | {times}{step.what} "
                     f"| {step.octets or ''} |")
    return "\n".join(lines)


def write(document=DOCUMENT, runs=None):
    """Write the document from the logs that are there; is it another than before?"""
    runs = Path(runs or BUILD / "runs")
    parts = [_INTRODUCTION]
    for script, kind, walk, title in (
            ("walk_read", "nvme", read, "A read of 4 KiB through NVMe"),
            ("walk_ping", "net", ping, "An echo between two guests, through the flow table")):
        log = runs / script / "tlp"
        if not log.exists():
            continue
        records = [json.loads(line) for line in log.read_text().splitlines()]
        found = walk(steps(kind, records))
        parts.append(f"## {title}\n\n{_table(found)}\n\n"
                     f"In all {found[-1].ns - found[0].ns:.0f} ns.\n")
    text = "\n".join(parts)
    document = Path(document)
    before = document.read_text() if document.exists() else None
    document.write_text(text)
    return text != before
