"""What a function is allowed, and how it is told what that has cost it."""

from dataclasses import dataclass, fields

from ..gft.spec import Allowance, MeterKind

__all__ = ["Limit", "meters_of", "allowances_of"]


@dataclass(frozen=True)
class Limit:
    """A function's share; 0 is no limit. Without ``_in``: of what it sends."""
    bits_per_second:       int = 0
    packets_per_second:    int = 0
    bits_per_second_in:    int = 0
    packets_per_second_in: int = 0
    new_flows_per_second:  int = 0  # packets to the slow path, but for those that follow others
    flows:                 int = 0  # rows of the flow table; 0: the slow path's own quota

    def __post_init__(self):
        for f in fields(self):
            if getattr(self, f.name) < 0:
                raise ValueError(f"`{f.name}` must be 0 or more, not {getattr(self, f.name)!r}")


def meters_of(limit):
    """Octets and packets a second by :class:`~offloadcard.gft.spec.MeterKind`."""
    return {
        MeterKind.OUT:       (limit.bits_per_second / 8, limit.packets_per_second),
        MeterKind.IN:        (limit.bits_per_second_in / 8, limit.packets_per_second_in),
        MeterKind.NEW_FLOWS: (0, limit.new_flows_per_second),
    }


# Names as a cloud's guests know them, and of the slow path ours.
_NAMES = {
    Allowance.OUT_OCTETS:  "bw_out_allowance_exceeded",
    Allowance.OUT_PACKETS: "pps_out_allowance_exceeded",
    Allowance.IN_OCTETS:   "bw_in_allowance_exceeded",
    Allowance.IN_PACKETS:  "pps_in_allowance_exceeded",
    Allowance.NEW_FLOWS:   "new_flows_allowance_exceeded",
    Allowance.EXCEPTIONS:  "slow_path_allowance_exceeded",
    Allowance.ROOM:        "slow_path_room_exceeded",
}


def allowances_of(counts, book, function_id):
    """Counters by name: those of the card, and what the flow book knows."""
    return {
        **{name: counts[allowance] for allowance, name in _NAMES.items()},
        "conntrack_allowance_exceeded":  book.exceeded.get(function_id, 0),
        "conntrack_allowance_available": max(0, book.quota_of(function_id)
                                             - book.count(function_id)),
    }
