"""Rates and latencies from the times of events."""

import numpy

__all__ = ["slope_ns", "slopes_together", "percentiles", "spread", "tail"]


def slope_ns(times_ns, *, low=0.25, high=0.95):
    """Nanoseconds an event between ``low`` and ``high`` of the events, in the order of time."""
    times = numpy.sort(numpy.asarray(times_ns, dtype=float))
    first, last = int(len(times) * low), int(len(times) * high) - 1
    if last <= first:
        raise ValueError(f"`times_ns` must hold 3 events or more, not {len(times)}")
    return float(times[last] - times[first]) / (last - first)


def slopes_together(*ways):
    """Nanoseconds an event of each way, from when all of them have had 25 % of their events until
    one has had 95 %: what a way does when another has ended is not counted. A way with less than
    3 events in that time is measured alone, and so is a single way."""
    if len(ways) == 1:
        return [slope_ns(ways[0])]
    ways = [numpy.sort(numpy.asarray(way, dtype=float)) for way in ways]
    begin = max(way[int(len(way) * 0.25)] for way in ways)
    end = min(way[int(len(way) * 0.95) - 1] for way in ways)
    inside = [way[(way >= begin) & (way <= end)] for way in ways]
    return [slope_ns(mine, low=0, high=1) if len(mine) >= 3 else slope_ns(way)
            for mine, way in zip(inside, ways)]


def spread(times_ns, counts):
    """Times of single operations, where each event completes ``counts`` of them."""
    return numpy.repeat(numpy.asarray(times_ns, dtype=float), numpy.asarray(counts, dtype=int))


def percentiles(values_ns):
    """``{"p50", "p99"}`` of latencies."""
    if not len(values_ns):
        return {"p50": None, "p99": None}
    return {name: float(numpy.percentile(values_ns, q)) for name, q in (("p50", 50), ("p99", 99))}


def tail(values_ns):
    """``{"p50", "p99", "p999"}`` of latencies."""
    marks = (("p50", 50), ("p99", 99), ("p999", 99.9))
    return {name: float(numpy.percentile(values_ns, q)) if len(values_ns) else None
            for name, q in marks}
