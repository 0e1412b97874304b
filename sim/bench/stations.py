"""Where the time of one operation goes: from event to event, on the card's side and the host's.

The events are those of the link and of the wire. From a request of the card to the completion's
departure is the host's time, with the link's delay; all the rest is the card's.
"""

import numpy

from ..link.world import Event

__all__ = ["stations"]

MRD, CPLD, MWR = 0x20, 0x4A, 0x60


def _name(record, places):
    octets = int(record["c"]) >> 16
    for name, (start, size, *most) in places.items():
        # Requests begin at double words.
        if start - start % 4 <= record["b"] < start + size and octets <= (most or [1 << 16])[0]:
            return name
    return "payload"


def _events(log, places):
    """``(time, name, asks)`` of every event that belongs to the operation, in order."""
    asked, found = {}, []
    for record in log:
        kind, code, tag = record["kind"], int(record["c"]) >> 8 & 0xFF, int(record["c"]) & 0xFF
        time = int(record["time_ps"]) / 1000
        if kind == Event.DOORBELL:
            found.append((time, "doorbell", False))
        elif kind == Event.FRAME_OUT:
            found.append((time, "first beat at the MAC", False))
        elif kind == Event.TLP_UP and code & 0xDF == 0:
            asked[tag] = _name(record, places)
            found.append((time, f"{asked[tag]} asked", True))
        elif kind == Event.TLP_UP and code & 0xDF == 0x40:
            found.append((time, f"{_name(record, places)} written", False))
        elif kind == Event.TLP_DOWN and code == CPLD and tag in asked:
            found.append((time, f"{asked.pop(tag)} answered", False))
    return found


def _once(events):
    """Events in a row of one name are one, which ends with the last."""
    return [event for n, event in enumerate(events)
            if n + 1 == len(events) or events[n + 1][1] != event[1]]


def stations(log, starts, *, last, places, aside=()):
    """``[{"station", "ns", "side"}]``: means over operations that went through the same events.

    ``starts`` are the times (ns) at which operations begin, ``last`` is the name of the event that
    ends one, ``places`` are ``{name: (address, octets)}`` of rings and messages, perhaps with the
    most octets of a request; what happens at those ``aside`` does not hold the operation up.
    """
    times = log["time_ps"] / 1000
    runs = []
    for n, start in enumerate(starts):
        end = starts[n + 1] if n + 1 < len(starts) else numpy.inf
        events = _once([event for event in _events(log[(times >= start) & (times < end)], places)
                        if event[1].rsplit(" ", 1)[0] not in aside])
        names = [name for _, name, _ in events]
        if last in names:
            runs.append(events[:names.index(last) + 1])
    if not runs:
        return []
    shapes = [tuple(name for _, name, _ in run) for run in runs]
    usual = max(set(shapes), key=shapes.count)
    runs = [run for run, shape in zip(runs, shapes) if shape == usual]
    rows = []
    for n in range(1, len(usual)):
        spans = [run[n][0] - run[n - 1][0] for run in runs]
        rows.append({"station": usual[n], "ns": float(numpy.mean(spans)),
                     "side": "host" if runs[0][n - 1][2] else "card", "operations": len(runs)})
    return rows
