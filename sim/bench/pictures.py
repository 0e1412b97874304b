"""The pictures: each takes records and baselines, and gives a figure or nothing to draw."""

from .canvas import GREYS, HATCHES, MARKERS, STYLES, canvas
from .catalog import CATALOG

__all__ = ["PICTURES", "rate_of", "software_named"]

LINE_GBPS = 100
FCS_AND_GAP = 24


def rate_of(record):
    """Mpps or MIOPS; ``None`` for what has another unit."""
    return record["metrics"].get("mpps") or record["metrics"].get("miops")


def _card(records):
    links = sorted({record["link"]["name"] for record in records})
    names = sorted({record["config"]["name"] for record in records})
    mhz = records[0]["sim"]["clock_mhz"]
    ns = sorted({f"{record['link']['host_latency_ns']:g}" for record in records})
    return (f"Card: simulated RTL, preset {', '.join(names)}, cycles at {mhz} MHz (stated, not "
            f"measured); link {', '.join(links)} and host memory ({', '.join(ns)} ns) are models.")


def _measured(results, machine):
    if not results:
        return " No software was measured for this picture."
    noisy = [result["name"] for result in results if result["noisy"]]
    text = (f" Software: measured on {machine['cpu']}, Linux {machine['kernel']}, median and range "
            f"of {len(results[0]['runs'])} runs, per core.")
    if noisy:
        text += f" Noisy (a busy machine): {len(noisy)} of {len(results)} figures."
    return text


def software_named(baseline, start):
    """Measured results whose names begin so; gaps are left out."""
    return [result for result in baseline.get("results", ())
            if result["name"].startswith(start) and "value" in result]


def _swept(records, scenario, key, least=2):
    """Records of a scenario in the order of what was changed, all else as the catalogue has it.

    Nothing if there are fewer than ``least``.
    """
    mine, usual = {}, CATALOG[scenario]
    others = {"octets", "queues", "depth"} - {key}
    for record in records:
        if record["scenario"] != scenario or not rate_of(record):
            continue
        asked = record["asked"]
        if asked[key] and all(asked[name] == getattr(usual, name) for name in others):
            mine[asked[key]] = record
    return sorted(mine.items()) if len(mine) >= least else []


def frame_size(records, _baseline):
    """Packets a second against the size of a frame, with bounds and the line's rate."""
    ways = [(name, title, rows) for name, title in (
        ("net-tx-64", "transmit"), ("net-rx-64", "receive"), ("gft-64", "flow table"))
        if (rows := _swept(records, name, "octets"))]
    if not ways:
        return None
    used = [record for *_, rows in ways for _, record in rows]
    figure, (axes,) = canvas(2.5, caption=_card(used) + " Burst method; frame sizes with FCS. "
                             "Each bound is in closed form for its run; a short burst may pass it, "
                             "since descriptors are partly fetched before the window.")
    sizes = sorted({octets for *_, rows in ways for octets, _ in rows})
    axes.plot([size + 4 for size in sizes],
              [LINE_GBPS * 125 / (size + FCS_AND_GAP) for size in sizes],
              color="#777777", linestyle=":", label="100G line rate")
    for n, (_, title, rows) in enumerate(ways):
        xs = [octets + 4 for octets, _ in rows]
        axes.plot(xs, [rate_of(record) for _, record in rows], color=GREYS[n], marker=MARKERS[n],
                  label=title)
        if title != "flow table":
            axes.plot(xs, [record["bound"]["value"] for _, record in rows], color=GREYS[n],
                      linestyle="--", linewidth=0.7, label=f"{title}, bound")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([size + 4 for size in sizes], [str(size + 4) for size in sizes])
    axes.set_xlabel("frame, octets")
    axes.set_ylabel("Mpps")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def active_flows(records, baseline):
    """Packets a second against active flows, the card's beside one core of software."""
    rows = _swept(records, "gft-64", "queues")
    software = [(title, sorted((r["flows"], r) for r in software_named(baseline, start)))
                for title, start in (("OVS-DPDK: NAT, TTL, meter, VXLAN", "ovs-dpdk-gft"),
                                     ("XDP: NAT, TTL, meter", "xdp"))]
    software = [(title, points) for title, points in software if points]
    if not rows and not software:
        return None
    results = [result for _, points in software for _, result in points]
    caption = (_card([record for _, record in rows]) if rows else "") \
        + _measured(results, baseline.get("machine"))
    figure, (axes,) = canvas(2.5, caption=caption)
    if rows:
        axes.plot([flows for flows, _ in rows], [rate_of(record) for _, record in rows],
                  color=GREYS[0], marker=MARKERS[0], label="card: MACs, TTL")
    for n, (title, points) in enumerate(software, 1):
        values = [result["value"] for _, result in points]
        error = [[result["value"] - result["low"] for _, result in points],
                 [result["high"] - result["value"] for _, result in points]]
        axes.errorbar([flows for flows, _ in points], values, yerr=error, color=GREYS[n],
                      marker=MARKERS[n], linestyle=STYLES[n], capsize=2, label=f"{title}, one core")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("active flows")
    axes.set_ylabel("Mpps, 64 octet frames")
    figure.legend(loc="outside upper center", ncols=1)
    return figure


def _short(result):
    """A label of few words."""
    for start, title in (("ovs-dpdk-gft", "OVS-DPDK"), ("xdp", "XDP, no tunnel"),
                         ("vhost", "DPDK vhost"), ("qemu", "QEMU virtio-net")):
        if result["name"].startswith(start):
            flows = result.get("flows")
            return title if flows is None else f"{title}, {flows:,} flow{'s' * (flows > 1)}"
    return result["title"]


def host_cores(_records, baseline):
    """Cores that software would need for 100 Gb/s of minimum frames; the card needs none."""
    results = [result for start in ("ovs-dpdk-gft", "xdp", "vhost", "qemu-virtio-net")
               for result in software_named(baseline, start)]
    if not results:
        return None
    line = LINE_GBPS * 125 / (60 + FCS_AND_GAP)
    caption = (f"Computed: the line's {line:.1f} Mpps over what one core was measured to do, as if "
               "cores scaled without loss. The card's bar is zero: no host core moves its packets."
               + _measured(results, baseline.get("machine")))
    figure, (axes,) = canvas(0.6 + 0.2 * len(results), caption=caption)
    names = [_short(result) for result in results]
    cores = [line / result["value"] for result in results]
    axes.barh([*names, "OffloadCard"], [*cores, 0], color=GREYS[3], hatch=HATCHES[1],
              edgecolor="white")
    for n, value in enumerate([*cores, 0]):
        axes.text(value, n, f" {value:.0f}", va="center", fontsize=6)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("host cores, 100 Gb/s of 64 octets")
    return figure


def block_rates(records, baseline):
    """Blocks a second against depth and against size."""
    depth = [(octets, rows) for octets, name in (
        (4096, "nvme-read-4k-sustained"), (512, "nvme-read-512-sustained"))
        if (rows := _swept(records, name, "depth"))]
    sizes = _swept(records, "nvme-read-4k-sustained", "octets")
    if not depth and not sizes:
        return None
    used = [record for _, rows in depth for _, record in rows] + [r for _, r in sizes]
    software = software_named(baseline, "qemu-nvme")
    figure, both = canvas(2.2, columns=2 if sizes else 1, caption=_card(used) + " Eight drives, "
                          "commands submitted again as they end; the media answer as the card's "
                                   "DRAM does." + _measured(software, baseline.get("machine")))
    left, right = both[0], both[-1]
    for n, (octets, rows) in enumerate(depth):
        left.plot([d for d, _ in rows], [rate_of(r) for _, r in rows], color=GREYS[n],
                  marker=MARKERS[n], label=f"{octets} octets")
        left.plot([d for d, _ in rows], [r["bound"]["value"] for _, r in rows], color=GREYS[n],
                  linestyle="--", linewidth=0.7, label=f"{octets} octets, bound")
    for result in software:
        left.axhline(result["value"], color="#555555", linestyle=":",
                     label="QEMU nvme, 4096 octets, one core")
    left.set_xscale("log", base=2)
    left.set_yscale("log")
    left.set_xlabel("commands in flight of each of 8 drives")
    left.set_ylabel("MIOPS")
    if sizes:
        right.plot([s for s, _ in sizes], [rate_of(r) for _, r in sizes], color=GREYS[0],
                   marker=MARKERS[0], label="read")
        right.plot([s for s, _ in sizes], [r["bound"]["value"] for _, r in sizes], color=GREYS[0],
                   linestyle="--", linewidth=0.7, label="read, bound")
        right.set_xscale("log", base=2)
        right.set_yscale("log")
        right.set_xticks([s for s, _ in sizes], [f"{s / 1024:g}" for s, _ in sizes])
        right.set_xlabel("block, KiB")
        right.set_ylabel("MIOPS")
    for axes in both:
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside upper center", ncols=2)
    return figure


def functions(records, _baseline):
    """Packets a second against the number of functions that send."""
    rows = _swept(records, "net-tx-64-sustained", "queues")
    if not rows:
        return None
    figure, (axes,) = canvas(2.2, caption=_card([r for _, r in rows]) + " Sustained method, one "
                             "queue of 256 entries each, refilled by the host.")
    axes.plot([n for n, _ in rows], [rate_of(r) for _, r in rows], color=GREYS[0], marker="o",
              label="card")
    axes.plot([n for n, _ in rows], [r["bound"]["value"] for _, r in rows], color=GREYS[3],
              linestyle="--", label="bound")
    axes.set_xscale("log", base=2)
    axes.set_xticks([n for n, _ in rows], [str(n) for n, _ in rows])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("functions that send")
    axes.set_ylabel("Mpps, 64 octet frames")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


PICTURES = {"frame-size": frame_size, "active-flows": active_flows, "host-cores": host_cores,
            "block-rates": block_rates, "functions": functions}
