"""Rates and latencies from the times of events."""

import numpy

__all__ = ["slope_ns", "percentiles", "spread", "tail"]


def slope_ns(times_ns, *, low=0.25, high=0.95):
    """Nanoseconds an event between ``low`` and ``high`` of the events, in the order of time."""
    times = numpy.sort(numpy.asarray(times_ns, dtype=float))
    first, last = int(len(times) * low), int(len(times) * high) - 1
    if last <= first:
        raise ValueError(f"`times_ns` must hold 3 events or more, not {len(times)}")
    return float(times[last] - times[first]) / (last - first)


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
