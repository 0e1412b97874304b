"""The benchmark's arithmetic: bounds against published figures, slopes, records, plots."""

import json
from dataclasses import replace

import pytest

from offloadcard.config import MODEL
from sim.bench import command
from sim.bench.account import own_bound
from sim.bench.bound import Batches, bound_of, pieces, read_octets, write_octets
from sim.bench.catalog import CATALOG
from sim.bench.frames import checksum, udp_frame
from sim.bench.net import flow_of
from sim.bench.page import write_page
from sim.bench.pictures import _swept, rate_of
from sim.bench.plot import PICTURES, plot
from sim.bench.run import record_of
from sim.bench.slope import percentiles, slope_ns, slopes_together, spread
from sim.link.config import LINKS, LinkConfig

LINK = LINKS["gen3x16"]


def test_octets_of_one_frame_one_by_one():
    # peers' count for a split ring, one packet at a time: 184 up, 204 down (TX), without padding.
    data = read_octets(0, 72, LINK)
    assert data == (24, 20 + 72)
    assert write_octets(0, 2, LINK) == 24 + 4
    assert write_octets(0, 512, LINK) == 2 * (24 + 256)


def test_pieces_follow_the_policy():
    assert pieces(0, 512, LINK) == [256, 256]
    assert pieces(2, 72, LINK) == [76]
    assert pieces(0x20, 128, replace(LINK, completions="64")) == [32, 64, 32]
    assert pieces(0x20, 256, replace(LINK, completions="128")) == [96, 128, 32]


@pytest.mark.parametrize("name, up, down", [
    ("net-tx-64", 41.5, 115.8 - 12), ("net-rx-64", 113.5, 23.8)])
def test_octets_in_batches_are_near_the_published(name, up, down):
    # Published without the 4 octets of a buffer at 2 mod 4, and with one index read more a batch;
    # ours leaves out the header that says nothing.
    bound = bound_of(CATALOG[name], MODEL, LINK)
    assert abs(bound.up - up) < 4 and abs(bound.down - down) < 4


def test_bounds_are_those_of_the_plan():
    # A frame without its header is one beat, and 16 descriptors are four.
    assert bound_of(CATALOG["net-tx-64"], MODEL, LINK).limits["tx stream"] == pytest.approx(
        250 / (1 + 4 / 16 + 2 / 32), abs=1)
    assert bound_of(CATALOG["gft-64"], MODEL, LINK).value == pytest.approx(148.8, abs=0.1)
    vxlan = bound_of(CATALOG["gft-64-vxlan"], MODEL, LINK)
    assert (vxlan.by, round(vxlan.value, 1)) == ("line out", 93.3)
    read = bound_of(CATALOG["nvme-read-4k"], MODEL, LINK)
    assert read.by == "link up" and 3.1 < read.value < 3.6  # 3.15 at the nominal bandwidth
    assert bound_of(CATALOG["net-tx-1514"], MODEL, LINK).by == "line"


def test_fewer_octets_need_no_worse_batches():
    good = bound_of(CATALOG["net-tx-64"], MODEL, LINK)
    bad = bound_of(CATALOG["net-tx-64"], MODEL, LINK, Batches(avail=1, desc=1, used=1))
    assert bad.up > 2 * good.up and bad.value < good.value


def test_dllps_of_the_run_take_their_share():
    scenario = CATALOG["nvme-read-4k"]
    none, some = (bound_of(scenario, MODEL, LINK, dllps=dllps) for dllps in ((0, 0), (80, 0)))
    assert none.value == pytest.approx(LINK.octets_per_ns * 1000 / none.up)
    assert some.up == none.up + 80 and some.value < none.value


def test_the_raw_rate_is_never_exceeded():
    for name in ("gen3x16", "gen4x8"):
        link = LINKS[name]
        assert link.octets_per_ns * 8 == pytest.approx(126.03, abs=0.01)


def test_slope():
    times = [100 + 8 * n for n in range(1000)]
    assert slope_ns(times[::-1]) == pytest.approx(8)
    assert slope_ns(spread([0, 80, 160, 240], [10] * 4)) == pytest.approx(8, rel=0.3)
    assert percentiles([1, 2, 3])["p50"] == 2 and percentiles([])["p99"] is None
    with pytest.raises(ValueError, match="3 events"):
        slope_ns([1, 2])
    # The first goes on twice as fast when the second has ended.
    first = [10 * n for n in range(100)] + [1000 + 5 * n for n in range(200)]
    assert slopes_together(first, [9 * n for n in range(111)]) == pytest.approx([10, 9], rel=0.02)
    assert slopes_together(first) == [slope_ns(first)] and slope_ns(first) < 7


def test_frames_are_right():
    frame = udp_frame(flow_of(3), 60)
    assert len(frame) == 60 and checksum(frame[14:34]) == 0
    with pytest.raises(ValueError, match="60 or more"):
        udp_frame(flow_of(3), 59)


def test_scapy_agrees():
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether
    packet = Ether(udp_frame(flow_of(3), 114))
    assert packet[IP].src == "10.0.3.2" and packet[UDP].sport == 0x4003
    assert packet[UDP].len == 114 - 34 and packet[IP].chksum == IP(bytes(packet[IP])).chksum


RAW = {"operations": 1000, "slope_ns": 10.0, "latency_ns": {"p50": 1.0, "p99": 2.0},
       "octets_up": 40_000, "octets_down": 116_000, "cycles": 5000, "cpu_s": 0.5, "wall_s": 0.6,
       "residue": (0, 0), "traffic": {
           "payload": {"reads": 1000, "writes": 0, "completions": 1000, "dllps": 0,
                       "four_dw": 1000, "payload_up": 0, "payload_down": 76_000, "up": 24_000,
                       "down": 96_000},
           "used": {"reads": 0, "writes": 125, "completions": 0, "dllps": 0, "four_dw": 125,
                    "payload_up": 8_000, "payload_down": 0, "up": 11_000, "down": 0},
           "ack": {"reads": 0, "writes": 0, "completions": 0, "dllps": 3_125, "four_dw": 0,
                   "payload_up": 0, "payload_down": 0, "up": 5_000, "down": 20_000}}}


def test_a_record_says_what_it_measured(tmp_path):
    record = record_of(CATALOG["net-tx-64"], MODEL, LINK, "gen3x16", RAW)
    assert record["metrics"]["mpps"] == 100 and record["metrics"]["cycles_per_op"] == 2.5
    assert record["metrics"]["gbps"] == pytest.approx(48)
    assert record["metrics"]["pcie_bytes_down"] == 116
    assert record["sim"]["cycles_per_s"] == 10_000
    assert record["efficiency"] == pytest.approx(0.791, abs=0.001)
    assert record["ledger"]["closed_form"] == {"octets": 156_000, "residue": 0}
    assert record["ledger"]["batches"] == {"used": 8}
    path = tmp_path / "records.json"
    path.write_text(json.dumps([record]))
    written = plot([path], tmp_path / "plots")
    assert {p.name for p in written} == {"packets.png", "packets.svg", "octets.png", "octets.svg"}
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match="broken.json"):
        plot([tmp_path / "broken.json"], tmp_path)


def test_a_run_is_held_against_its_own_batches():
    """Two beats a frame, elements and index a batch of 8, a message each; one stream of writes."""
    def limit(scenario, **writes):
        none = dict.fromkeys(("reads", "completions", "dllps", "four_dw", "payload_up",
                              "payload_down", "up", "down"), 0)
        traffic = {purpose: {**none, "writes": count} for purpose, count in writes.items()}
        record = record_of(CATALOG[scenario], MODEL, LINK, "gen3x16", {**RAW, "traffic": traffic})
        return own_bound(record)

    quiet = limit("net-rx-64-all", used=250)
    assert quiet.limits["rx stream"] == pytest.approx(250 / (2 + 2 / 8))
    told = limit("net-rx-64-all", used=250, msix=125)
    assert (told.by, told.value) == ("rx stream", pytest.approx(250 / (2 + 2 / 8 + 1 / 8)))
    for shared in ("card-64-all", "net-bidir-64-all", "nvme-read-4k", "gft-64"):
        assert limit(shared, used=250) is None


def test_what_cannot_be_asked_is_said_in_one_line():
    for arguments, word in (({"scenarios": ["nothing"]}, "scenario"), ({"preset": "x"}, "preset"),
                            ({"link": "x"}, "link"), ({"packets": 3}, "packets"),
                            ({"host_latency_ns": -1}, "host_latency_ns")):
        with pytest.raises(ValueError, match=word):
            command.run(**arguments)


@pytest.mark.parametrize("field, value", [
    ("generation", 2), ("width", 3), ("completions", "all"), ("dllp", "none"), ("rcb", 32)])
def test_a_link_checks_itself(field, value):
    with pytest.raises(ValueError, match=f"`{field}`"):
        LinkConfig(**{field: value})


def test_the_page_names_its_run(tmp_path):
    record = record_of(CATALOG["net-tx-64"], MODEL, LINK, "gen3x16", RAW)
    (tmp_path / "in.json").write_text(json.dumps([record]))
    written = write_page([tmp_path / "in.json"], tmp_path / "out")
    text = (tmp_path / "out/index.md").read_text()
    assert "100.00 Mpps" in text and "stated, not measured" in text and record["commit"] in text
    assert all(path.exists() for path in written)


def _asked(scenario, rate, **change):
    """A record as if a run had given ``rate``; nothing of it is printed anywhere."""
    return record_of(replace(CATALOG[scenario], **change), MODEL, LINK, "gen3x16",
                     {**RAW, "slope_ns": rate and 1000 / rate})


def test_a_sweep_takes_no_point_of_another():
    records = [_asked("gft-64", 148.0, queues=1), _asked("gft-64", 148.0, queues=64),
               _asked("gft-64", 84.0, octets=124)]
    assert [(n, rate_of(r)) for n, r in _swept(records, "gft-64", "queues")] == [
        (1, pytest.approx(148)), (64, pytest.approx(148))]


def test_every_picture_can_be_drawn(tmp_path):
    attack = {"share": 0.5, "p50": 10.0, "p99": 20.0, "p999": 30.0}
    flows = {name: attack for name in ("transmit", "receive", "read")}
    beside = _asked("interference-load", None)
    beside["metrics"] |= {"attack": "load", "attackers": 3, "victim_mpps": 2.0, "alone": flows,
                          "beside": flows, "mpps": None}
    idle = _asked("latency-net", None)
    idle["metrics"] |= {"mpps": None, "stations": [
        {"station": "index asked", "ns": 96.0, "side": "card", "operations": 1},
        {"station": "index answered", "ns": 512.0, "side": "host", "operations": 1}]}
    records = [
        beside, idle, _asked("net-tx-64", 80.0), _asked("net-tx-64", 40.0, octets=252),
        _asked("net-tx-64", 20.0, queues=1), _asked("gft-64", 84.0, queues=64, octets=124),
        _asked("gft-64", 148.0, queues=1),
        _asked("gft-64", 148.0, queues=64), _asked("nvme-read-4k-sustained", 3.0),
        *(_asked("net-tx-64-sustained", 40.0 * n, queues=n) for n in (1, 2)),
        *(_asked("nvme-read-4k-sustained", 1.0, depth=depth) for depth in (1, 2)),
        _asked("nvme-read-4k-sustained", 1.0, octets=8192)]
    result = {"name": "xdp-1", "title": "XDP", "unit": "Mpps", "value": 9.0, "low": 8.0,
              "high": 10.0, "runs": [9.0], "flows": 1, "noisy": True, "wait": 0.5,
              "versions": {}}
    baseline = {"machine": {"cpu": "a", "kernel": "b", "cores": 1}, "results": [
        result, {"name": "ovs-dpdk", "title": "OVS", "skipped": "not there", "install": ""}]}
    for name, content in (("card", records), ("software", baseline)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    files = sorted(tmp_path.glob("*.json"))
    written = write_page(files, tmp_path / "out")
    assert {path.stem for path in written} == {*PICTURES, "index"}
    text = (tmp_path / "out/index.md").read_text()
    assert "skipped: not there" in text and "noisy, waited 50%" in text and "50%" in text
