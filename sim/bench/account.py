"""The ledger of a run by purpose, against a closed form that knows nothing of how it was counted.

The compiled ledger adds octets TLP by TLP. Here the sum is made anew from numbers of TLPs and the
standard's header sizes, and from what the operations must move; the difference must be zero.
"""

from offloadcard.config import CardConfig

from ..link.config import LinkConfig
from .bound import DLLP, FRAMING, HEADER_4DW, HEADER_CPL, Batches, bound_of
from .catalog import CATALOG

__all__ = ["traffic_of", "closed_form", "batches_of", "dllps_of", "own_bound"]

_LINK_ONLY = ("ack", "update_fc")


def traffic_of(world):
    """``{purpose: {...}}``: numbers of TLPs, payload and octets of both directions."""
    names, table = world.purpose_names, {}
    for entry in world.ledger():
        row = table.setdefault(names[entry["purpose"]], {
            "reads": 0, "writes": 0, "completions": 0, "dllps": 0, "four_dw": 0,
            "payload_up": 0, "payload_down": 0, "up": 0, "down": 0})
        way = "up" if entry["direction"] == 0 else "down"
        fmt_type, packets = int(entry["fmt_type"]), int(entry["packets"])
        row[way] += int(entry["octets"])
        row[f"payload_{way}"] += int(entry["payload"])
        if names[entry["purpose"]] in _LINK_ONLY:
            row["dllps"] += packets
        elif fmt_type & 0x1F == 0x0A:
            row["completions"] += packets
        else:
            row["writes" if fmt_type & 0x40 else "reads"] += packets
            row["four_dw"] += packets if fmt_type & 0x20 else 0
    return table


def closed_form(traffic, totals):
    """``{"octets", "residue"}``: both ways together, from numbers of packets alone.

    ``totals`` is what the lanes counted: (up, down).
    """
    octets = 0
    for row in traffic.values():
        requests = row["reads"] + row["writes"]
        octets += DLLP * row["dllps"]
        octets += requests * (FRAMING + HEADER_4DW) - 4 * (requests - row["four_dw"])
        octets += row["completions"] * (FRAMING + HEADER_CPL)
        octets += row["payload_up"] + row["payload_down"]
    return {"octets": octets, "residue": sum(totals) - octets}


def batches_of(traffic, operations):
    """How many operations each ring access served."""
    kinds = {"avail": ("avail", "reads"), "desc": ("desc", "reads"), "used": ("used", "writes"),
             "sqe": ("sq", "reads"), "cqe": ("cq", "writes"), "msi": ("msix", "writes")}
    return {name: operations / traffic[purpose][kind]
            for name, (purpose, kind) in kinds.items()
            if traffic.get(purpose, {}).get(kind)}


def dllps_of(traffic, operations):
    """Octets ``(up, down)`` of ACK and UpdateFC an operation."""
    return tuple(sum(traffic.get(name, {}).get(way, 0) for name in _LINK_ONLY) / operations
                 for way in ("up", "down"))


def own_bound(record):
    """The :class:`Bound` of a run one way with the batches it had, not the card's best.

    Host and card share in them: a queue whose guest offers few buffers at a time cannot be served
    in large batches. A batch is two accesses, entries and index, at either ring. ``None`` where
    two ways, or drives, share the rings' ledger.
    """
    scenario, ledger, link = CATALOG[record["scenario"]], record["ledger"], dict(record["link"])
    one_way = scenario.kind in ("net_tx", "net_rx") or scenario.way in ("tx", "rx")
    if scenario.drives or not one_way:
        return None
    del link["name"]
    served = batches_of(ledger["traffic"], record["operations"])
    served |= {ring: 2 * served[ring] for ring in ("avail", "used") if ring in served}
    return bound_of(scenario, CardConfig(**record["config"]), LinkConfig(**link), Batches(**served),
                    dllps=dllps_of(ledger["traffic"], record["operations"]))
