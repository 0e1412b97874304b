"""Measuring real software: arithmetic, gaps and captures; the measuring itself needs a machine."""

import json

import pytest

from sim.qemu import exits
from sim.software import command, measure, ovs, qemu, traffic, vhost, xdp
from sim.software.measure import Skip


def test_a_figure_is_a_median_that_says_when_it_is_noisy():
    quiet = measure.figure("a", "A", "Mpps", [1.0, 1.1, 1.05], waits=[0.01], versions={})
    assert quiet["value"] == 1.05 and (quiet["low"], quiet["high"]) == (1.0, 1.1)
    assert not quiet["noisy"] and quiet["runs"] == [1.0, 1.1, 1.05]
    assert measure.figure("a", "A", "Mpps", [1.0, 2.0], waits=[0], versions={})["noisy"]
    assert measure.figure("a", "A", "Mpps", [1.0, 1.0], waits=[0.2], versions={})["noisy"]


def test_waiting_is_a_share_of_what_a_thread_wanted():
    assert measure.busy_of((1.0, 0.5), (4.0, 1.5)) == (3.0, 0.25)
    assert measure.busy_of((1.0, 0.5), (1.0, 0.5)) == (0.0, 0.0)


def test_the_doorbell_falls_out_of_a_slope():
    # 5 us a doorbell and 2 us an operation.
    rows = [(16, 10, 10 * (5e-6 + 16 * 2e-6), 0.0), (1024, 3, 3 * (5e-6 + 1024 * 2e-6), 0.0)]
    assert qemu.slope(rows) == pytest.approx(2e-6)
    with pytest.raises(ValueError, match="two sizes"):
        qemu.slope([rows[0], rows[0]])


def test_exits_are_what_more_reads_add():
    """What a boot costs besides its reads falls out."""
    def boot(reads):
        return exits.counted("".join(
            ["pci_nvme_mmio_doorbell_sq sqid 0 new_tail 1\n"] * 31
            + ["pci_nvme_mmio_doorbell_sq sqid 1 new_tail 1\n",
               "7@16.25:pci_nvme_mmio_doorbell_cq cqid 1 new_head 1\n"] * reads),
            f"Linux\nINTERRUPTS nvme 12 {12 + reads}\n")

    assert exits.per_read("nvme", {n: boot(n) for n in (600, 200)}) == [(2.0, 1.0)]
    assert exits.per_read("virtio-blk", {n: boot(n) for n in (2, 4, 6)}) == [(0, 0)] * 2
    with pytest.raises(ValueError, match="two or more"):
        exits.per_read("nvme", {200: boot(200)})


class _Tier:
    NAME, TITLE = "there", "what is there"

    @staticmethod
    def measure(**_):
        return [measure.figure("there", "what is there", "Mpps", [1.0], waits=[], versions={})]


class _Gap:
    NAME, TITLE = "gap", "what is not"

    @staticmethod
    def measure(**_):
        raise Skip("it is not installed", "apt install it")


def test_what_is_missing_is_a_gap_with_its_reason(tmp_path):
    path = tmp_path / "baseline.json"
    report = command.run(json_path=path, tiers={1: (_Tier,), 2: (_Gap,)})
    assert json.loads(path.read_text()) == report
    there, gap = report["results"]
    assert there["value"] == 1.0 and "value" not in gap
    assert gap["skipped"] == "it is not installed" and gap["install"] == "apt install it"
    assert len(command.run(1, tiers={1: (_Tier,), 2: (_Gap,)})["results"]) == 1
    with pytest.raises(ValueError, match="`tier`"):
        command.run(9)
    with pytest.raises(ValueError, match="`repeats`"):
        command.run(repeats=0)


@pytest.mark.parametrize("module", [qemu, vhost, ovs, xdp])
def test_a_bare_machine_is_told_what_to_install(module, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(Skip) as found:
        module.measure()
    assert "not installed" in str(found.value) and "apt install" in found.value.install


def test_captures_hold_each_flow_once_and_scapy_reads_them(tmp_path):
    from scapy.layers.inet import IP
    from scapy.utils import rdpcap
    path = tmp_path / "flows.pcap"
    traffic.write_pcap(path, traffic.flows(100, 60))
    packets = rdpcap(str(path))
    assert {packet[IP].dst for packet in packets} == {traffic.address(n) for n in range(100)}
    assert all(packet[IP].chksum == IP(bytes(packet[IP])[:20]).chksum or len(packet) == 60
               for packet in packets)
    assert len(traffic.flows(1, 60)) == 64
