"""Pictures of single runs: rates beside bounds, octets by purpose, stations, interference."""

from collections import Counter

from .canvas import GREYS, HATCHES, canvas
from .catalog import CATALOG
from .pictures import _card, rate_of

__all__ = ["PICTURES"]


def _single(records, key):
    """One record of each scenario, with that rate, as the catalogue asks it."""
    found = {}
    for record in records:
        scenario = CATALOG.get(record["scenario"])
        asked = record.get("asked", {})
        if scenario and record["metrics"].get(key) and all(
                asked.get(name, getattr(scenario, name)) == getattr(scenario, name)
                for name in ("octets", "queues", "depth")):
            found[record["scenario"]] = record  # the last one counts, as on the page
    return list(found.values())


def _rates(key, unit):
    def draw(records, _baseline):
        """Rates beside their bounds."""
        # Long frames have a picture of their own: rates against size.
        mine = [record for record in _single(records, key)
                if key != "mpps" or CATALOG[record["scenario"]].octets <= 64]
        if not mine:
            return None
        figure, (axes,) = canvas(0.5 + 0.17 * len(mine), caption=_card(mine) + " Light: the bound "
                                 "in closed form for the run, and what bounds.")
        names = [record["scenario"] for record in mine]
        axes.barh(names, [record["bound"]["value"] for record in mine], color="#dce6ee",
                  edgecolor="#8899aa", linewidth=0.4)
        axes.barh(names, [rate_of(record) for record in mine], color=GREYS[0], height=0.5)
        for n, record in enumerate(mine):
            axes.text(max(rate_of(record), record["bound"]["value"]), n,
                      f" {rate_of(record):.3g} of {record['bound']['value']:.3g} "
                      f"({record['bound']['by']})", va="center", fontsize=5)
        axes.invert_yaxis()
        axes.margins(x=0.45, y=0.02)
        axes.set_xlabel(unit)
        return figure
    return draw


def octets(records, _baseline):
    """PCIe octets of an operation by purpose."""
    mine = [record for record in _single(records, "mpps")
            if record["scenario"] in ("net-tx-64", "net-rx-64", "net-bidir-64",
                                      "net-tx-64-sustained", "net-rx-64-sustained")]
    if not mine:
        return None
    rows = {f"{record['scenario']} {way}": {
        purpose: pair[n] for purpose, pair in record["ledger"]["per_operation"].items() if pair[n]}
        for record in mine for n, way in enumerate(("up", "down"))}
    figure, (axes,) = canvas(0.7 + 0.17 * len(rows), caption=_card(mine) + " Every octet of every "
                             "TLP and DLLP, framing and headers included; the ledger had no "
                             "residue.")
    left = dict.fromkeys(rows, 0.0)
    for n, purpose in enumerate(sorted({p for shares in rows.values() for p in shares},
                                       key=lambda p: -max(s.get(p, 0) for s in rows.values()))):
        widths = [shares.get(purpose, 0) for shares in rows.values()]
        axes.barh(list(rows), widths, left=list(left.values()), label=purpose.replace("_", " "),
                  color=GREYS[n % len(GREYS)], hatch=HATCHES[n % len(HATCHES)], edgecolor="white",
                  linewidth=0.3)
        left = {name: value + width for (name, value), width in zip(left.items(), widths)}
    axes.invert_yaxis()
    axes.set_xlabel("octets on the link, a frame")
    figure.legend(loc="outside upper center", ncols=5, handlelength=1.5, columnspacing=0.8)
    return figure


def stations(records, _baseline):
    """Where the time of one idle frame and one idle block goes."""
    mine = [record for record in records if record["metrics"].get("stations")]
    if not mine:
        return None
    mine = list({record["scenario"]: record for record in mine}.values())
    titles = {"latency-net": "frame, doorbell to MAC",
              "latency-nvme": "4 KiB read, doorbell to interrupt"}
    figure, axes_list = canvas(2.4, columns=2 if len(mine) > 1 else 1, caption=_card(mine)
                               + " One operation at a time, the card idle; means. Hatched: the "
                               "host and the link answer a read.")
    for axes, record in zip(axes_list, mine):
        rows, start = record["metrics"]["stations"], 0.0
        for n, row in enumerate(rows):
            host = row["side"] == "host"
            axes.barh(n, row["ns"], left=start, color=GREYS[3] if host else GREYS[0],
                      hatch=HATCHES[1] if host else "", edgecolor="white", linewidth=0.3)
            start += row["ns"]
            axes.text(start, n, f" {row['ns']:.0f}", va="center", fontsize=5.5)
        axes.set_yticks(range(len(rows)), [row["station"] for row in rows])
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel("ns since the doorbell")
        axes.set_title(f"{titles.get(record['scenario'], record['scenario'])}: {start:.0f} ns")
    return figure


def _crowd(record):
    return record["metrics"]["attackers"], record["metrics"]["victim_mpps"]


def interference(records, _baseline):
    """What is left of a victim's rate and latency beside each attack."""
    attacked = [record for record in records if "attack" in record["metrics"]]
    groups = Counter(map(_crowd, attacked))
    # The most attackers, of those that made several attacks.
    chosen = max(groups, key=lambda group: (groups[group] > 2, group), default=None)
    found = {record["scenario"]: record for record in attacked if _crowd(record) == chosen}
    mine = [found[name] for name in CATALOG if name in found]
    if not mine:
        return None
    attackers = mine[0]["metrics"]["attackers"]
    figure, (left, right) = canvas(
        0.9 + 0.3 * len(mine), columns=2, caption=_card(mine) + f" A victim that sends and "
        f"receives {mine[0]['metrics']['victim_mpps']:g} Mpps of minimum frames and reads 4 KiB "
        f"blocks, alone and then beside {attackers} attackers in the same run. "
        "Right: tail latency beside the attack over that alone; where nothing arrived there is no "
        "bar.")
    names = [record["metrics"]["attack"] for record in mine]
    flows = (("transmit", "sends"), ("receive", "receives"), ("read", "reads blocks"))
    for n, (flow, title) in enumerate(flows):
        places = [k + (n - 1) * 0.27 for k in range(len(mine))]
        beside = [record["metrics"]["beside"][flow] for record in mine]
        alone = [record["metrics"]["alone"][flow] for record in mine]
        left.barh(places, [100 * row["share"] for row in beside], height=0.25, color=GREYS[n],
                  hatch=HATCHES[n], edgecolor="white", linewidth=0.3, label=title)
        for place, row in zip(places, beside):
            if row["share"] < 0.9:
                left.text(100 * row["share"], place, f" {row['share']:.0%}", va="center",
                          fontsize=5.5)
        right.barh(places, [row["p999"] / base["p999"] if row["p999"] and base["p999"] else 0
                            for row, base in zip(beside, alone)], height=0.25, color=GREYS[n],
                   hatch=HATCHES[n], edgecolor="white", linewidth=0.3)
    left.axvline(90, color="black", linestyle="--", linewidth=0.7)
    right.axvline(1.5, color="black", linestyle="--", linewidth=0.7)
    for axes in (left, right):
        axes.set_yticks(range(len(mine)), names)
        axes.invert_yaxis()
    left.set_xlabel("share of the rate alone, per cent (90 is the aim)")
    right.set_xscale("log")
    right.set_xlabel("P99.9 beside over alone (1.5 is the aim)")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


PICTURES = {"packets": _rates("mpps", "Mpps"), "blocks": _rates("miops", "MIOPS"),
            "octets": octets, "stations": stations, "interference": interference}
