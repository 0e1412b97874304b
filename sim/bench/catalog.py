"""The scenarios of the benchmark: what each does, and who stands there now."""

from dataclasses import dataclass

__all__ = ["Scenario", "CATALOG"]


@dataclass(frozen=True)
class Scenario:
    """One measurement by the burst method.

    Rings are filled, one doorbell per queue is rung, and the host does nothing until all is done;
    the rate is the slope between 25 % and 95 % of the events at the far end.
    """
    name:    str
    title:   str
    kind:    str           # the measuring function: measure.py
    unit:    str           # "mpps", "miops" or "ns"
    octets:  int           # of a frame without FCS, or of a command
    queues:  int = 1
    packets: int = 1024    # frames or commands in all
    write:   bool = False  # NVMe
    push:    bool = False  # VXLAN
    peer:    str = ""      # who stands there now, with the figure


def _catalog(*scenarios):
    return {scenario.name: scenario for scenario in scenarios}


CATALOG = _catalog(
    Scenario("net-tx-64", "transmit minimum frames", "net_tx", "mpps", 60, queues=8,
             peer="Corundum 19.7 Mpps at 500 ns"),
    Scenario("net-rx-64", "receive minimum frames", "net_rx", "mpps", 60, queues=4, packets=512,
             peer="Corundum 15.9 Mpps at 500 ns"),
    Scenario("net-bidir-64", "minimum frames both ways at once", "net_bidir", "mpps", 60, queues=8,
             peer="Corundum 16.3 Mpps each way, at zero latency"),
    Scenario("net-tx-1514", "transmit large frames", "net_tx", "mpps", 1514, queues=8, packets=512,
             peer="Corundum: line rate"),
    Scenario("net-rx-1514", "receive large frames", "net_rx", "mpps", 1514, queues=4, packets=512,
             peer="Corundum: line rate"),
    Scenario("gft-64", "rewrite minimum frames, wire to wire", "gft", "mpps", 60, queues=64,
             packets=2048, peer="OVS-DPDK 6.7 Mpps a core at 1k flows"),
    Scenario("gft-64-vxlan", "encapsulate minimum frames, wire to wire", "gft", "mpps", 60,
             queues=64, packets=2048, push=True, peer="OVS-DPDK 6.7 Mpps a core at 1k flows"),
    Scenario("nvme-read-4k", "read 4 KiB blocks", "nvme", "miops", 4096, queues=8, packets=512,
             peer="NVMeCHA 1.7 MIOPS on Gen3 x8, SPDK 4.3 M a core"),
    Scenario("nvme-write-4k", "write 4 KiB blocks", "nvme", "miops", 4096, queues=8, packets=512,
             write=True, peer="NVMeCHA 1.7 MIOPS on Gen3 x8"),
    Scenario("nvme-read-512", "read 512 octet blocks", "nvme", "miops", 512, queues=8,
             packets=1024, peer="SPDK 4.3 M a core"),
    Scenario("latency-net", "doorbell to the first beat at the MAC, idle", "latency_net", "ns", 60,
             packets=32, peer="Corundum 2 reads + 670 ns"),
    Scenario("latency-nvme", "doorbell to the interrupt, 4 KiB read, idle", "latency_nvme", "ns",
             4096, packets=32, peer="NVMeCHA 2.4 us"),
)
