"""The scenarios of the benchmark: what each does, and who stands there now."""

from dataclasses import dataclass

__all__ = ["Scenario", "CATALOG", "UNITS", "rate_of"]

UNITS = {"mpps": "Mpps", "miops": "MIOPS", "mcps": "M/s", "mops": "M/s"}


def rate_of(metrics):
    """Operations a microsecond; ``None`` for a latency."""
    return next((metrics[key] for key in UNITS if metrics.get(key)), None)


@dataclass(frozen=True)
class Scenario:
    """One measurement.

    By the burst method rings are filled, one doorbell per queue is rung, and the host does nothing
    until all is done; by the sustained one the host refills as it goes. The rate is the slope
    between 25 % and 95 % of the events at the far end.
    """
    name:    str
    title:   str
    kind:    str           # the measuring function: measure.py
    unit:    str           # "mpps", "miops", "mcps", "mops" or "ns"
    octets:  int           # of a frame without FCS, or of a command
    queues:  int = 1
    packets: int = 1024    # frames or commands in all
    write:   bool = False  # NVMe
    push:    bool = False  # VXLAN
    peer:    str = ""      # who stands there now, with the figure
    way:     str = ""      # sustained: "tx", "rx" or "bidir"
    order:   str = "lifo"  # sustained: of free descriptors, see rings.py
    ring:    int = 256     # sustained: entries of each ring
    depth:   int = 0       # sustained: commands in flight of a drive
    mixed:   bool = False  # NVMe: reads and writes in turn
    everyone: bool = False  # all virtual functions of the kind
    attack:  str = ""      # interference: see attacks.py
    drives:  int = 0       # sustained: all drives read too, so many commands each
    cores:   int = 0       # connections: of the slow path
    service_ns: int = 0    # connections: that one of them needs for a first packet (stated)

    @property
    def burst(self):
        """Whether the host rests while the card works, as in the measurements of others."""
        return self.kind not in ("net_sustained", "nvme_sustained", "zero_loss", "interference",
                                 "connections", "flow_operations")


def _catalog(*scenarios):
    return {scenario.name: scenario for scenario in scenarios}


_ATTACKS = (
    ("load", "minimum frames, all they can"),
    ("doorbells", "a doorbell every 8 ns"),
    ("mmio-reads", "register reads without a pause"),
    ("slow-completions", "their memory answers 20 us late"),
    ("timeouts", "their memory never answers"),
    ("bad-chains", "descriptor loops"),
    ("flr-loop", "function level resets under load"),
    ("flow-thrash", "a new flow in every frame"),
    ("flow-thrash-served", "the same, served by the slow path, beside new flows of the victim's"),
    ("flow-thrash-limited", "the same, each allowed its even part of the slow path"),
    ("receive-starvation", "frames for rings without buffers"),
    ("slow-drives", "their drives' memory answers 20 us late"),
    ("silent-drives", "their drives' memory never answers"),
    ("slow-queues", "their submission queues answer 20 us late"),
    ("silent-queues", "their submission queues never answer"),
    ("everyone", "all of these, also the drives', at once"),
)

_CONNECTIONS = (  # cores and time of one first packet: stated, not measured
    ("", "4 cores of 20 us", 4, 20_000, 1200, 16),
    ("-20-cores", "20 cores of 20 us", 20, 20_000, 3000, 32),
    ("-24-cores", "24 cores of 20 us", 24, 20_000, 4000, 40),
    ("-hardware", "decides in no time", 1, 0, 4000, 16),
)


def _sustained():
    """The host refills; 8 queues are those of 8 functions, each of one pair."""
    def net(name, title, way, **options):
        return Scenario(name, title, "net_sustained", "mpps", 60, way=way,
                        **{"packets": 100_000, "queues": 8, **options})

    def drive(name, title, octets, **options):
        return Scenario(name, title, "nvme_sustained", "miops", octets,
                        **{"packets": 20_000, "queues": 8, **options})
    return (
        net("net-tx-64-sustained", "transmit, rings refilled, 8 queues", "tx"),
        net("net-tx-64-1q", "transmit, rings refilled, 1 queue", "tx", queues=1, ring=1024),
        net("net-tx-64-shuffled", "transmit, descriptors shuffled", "tx", order="shuffled"),
        net("net-tx-64-all", "transmit, all network functions", "tx", everyone=True, ring=64),
        net("net-rx-64-sustained", "receive at line rate, 8 queues", "rx"),
        net("net-rx-64-1q", "receive at line rate, 1 queue", "rx", queues=1, ring=1024),
        net("net-rx-64-shuffled", "receive, descriptors shuffled", "rx", order="shuffled"),
        net("net-rx-64-all", "receive, all network functions", "rx", everyone=True, ring=256),
        net("net-bidir-64-sustained", "both ways, 8 queues", "bidir"),
        net("net-bidir-64-all", "both ways, all network functions", "bidir", everyone=True,
            ring=64),
        net("card-64-all", "transmit beside reading drives, all virtual functions", "tx",
            everyone=True, ring=64, drives=4),
        Scenario("net-rx-64-zero-loss", "receive without loss, RFC 2544, 4 queues", "zero_loss",
                 "mpps", 60, queues=4, packets=20_000, way="rx", ring=1024),
        drive("nvme-read-4k-sustained", "read 4 KiB, drives kept busy", 4096),
        drive("nvme-write-4k-sustained", "write 4 KiB, drives kept busy", 4096, write=True),
        drive("nvme-mixed-4k-sustained", "read and write 4 KiB in turn", 4096, mixed=True),
        drive("nvme-read-512-sustained", "read 512 octets, drives kept busy", 512,
              packets=50_000),
        *(Scenario(f"interference-{attack}", f"a victim beside 15: {what}", "interference",
                   "share", 60, queues=15, attack=attack,
                   packets=8_000 if "-thrash-" in attack else 1_000)  # new flows are rare
          for attack, what in _ATTACKS),
        *(Scenario(f"interference-{attack}-writing", f"a victim that writes beside 15: {what}",
                   "interference", "share", 60, queues=15, packets=1_000, attack=attack,
                   write=True)
          for attack, what in _ATTACKS if attack.endswith(("-drives", "-queues"))),
        *(Scenario(f"connections{name}", f"six packets each, slow path: {what}", "connections",
                   "mcps", 60, packets=packets, depth=depth, cores=cores, service_ns=service_ns,
                   peer="DASH 3M CPS on 200G")
          for name, what, cores, service_ns, packets, depth in _CONNECTIONS),
        Scenario("flow-operations", "commands of the flow table through its ring",
                 "flow_operations", "mops", 60, packets=1024, peer="DASH 12M flow operations/s"),
        drive("nvme-read-4k-all", "read 4 KiB, all drives", 4096, everyone=True, depth=16),
    )


CATALOG = _catalog(
    Scenario("net-tx-64", "transmit minimum frames", "net_tx", "mpps", 60, queues=8,
             peer="Corundum 19.7 Mpps at 500 ns"),
    Scenario("net-rx-64", "receive minimum frames", "net_rx", "mpps", 60, queues=4, packets=512,
             peer="Corundum 15.9 Mpps at 500 ns"),
    Scenario("net-bidir-64", "minimum frames both ways at once", "net_bidir", "mpps", 60, queues=8,
             packets=4096, peer="Corundum 16.3 Mpps each way, at zero latency"),
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
    Scenario("nvme-mixed-4k", "read and write 4 KiB blocks in turn", "nvme", "miops", 4096,
             queues=8, packets=2048, mixed=True, peer="NVMeCHA 1.7 MIOPS on Gen3 x8"),
    Scenario("latency-net", "doorbell to the first beat at the MAC, idle", "latency_net", "ns", 60,
             packets=32, peer="Corundum 2 reads + 670 ns"),
    Scenario("latency-nvme", "doorbell to the interrupt, 4 KiB read, idle", "latency_nvme", "ns",
             4096, packets=32, peer="NVMeCHA 2.4 us"),
    *_sustained(),
)
