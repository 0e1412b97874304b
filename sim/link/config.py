"""Parameters of the world around the card: link, host, DRAM; every one with its origin."""

# Ref: pcie-5.0, 3.6 (Ack latency), 4.2.2 (encoding for 8.0 GT/s and higher)

from dataclasses import dataclass

from offloadcard.pcie import spec_config

__all__ = ["LinkConfig", "LINKS", "POLICIES"]

# GT/s of a lane by generation.
_RATES = {3: 8, 4: 16, 5: 32}

POLICIES = {"maximal": 0, "128": 1, "64": 2, "mixed": 3}
DLLPS = {"timer": 0, "dense": 1}


@dataclass(frozen=True)
class LinkConfig:
    """The PCIe link, the host's memory and the card's DRAM.

    ``completions`` says how reads are answered: ``maximal`` (cut at MPS), ``128``, ``64``, or a
    ``mixed`` lot from the seed. ``dllp`` says when ACK and UpdateFC are sent: at the standard's
    latency limit (``timer``) or one ACK for each TLP and one UpdateFC for each credit returned
    (``dense``). Of the root port, the credits and the wire's delay are those of the measurements
    that we compare with; a header count of 0 means infinite.
    """
    generation: int = 3
    width: int = 16
    wire_delay_ns: float = 10
    host_latency_ns: float = 500       # a read's arrival to its completion's departure
    latency_spread_ns: float = 0       # a seeded share of it comes on top, so reads overtake
    dequeue_ns: float = 50             # until the root complex returns a read's credit
    completions: str = "maximal"
    interleave: bool = False           # pieces of several reads are mixed
    dllp: str = "timer"
    mps: int = 256                     # what the root port completes with
    rcb: int = 64
    credits: tuple = (64, 1024, 64, 64)  # PH, PD, NPH, NPD
    tx_buffer_octets: int = 512        # what the link's transmitter holds (guess)
    seed: int = 1
    dram_octets_per_ns: float = 64     # wide enough not to bound the card (guess)
    dram_read_ns: float = 60           # (guess: DDR4, row miss and controller)
    dram_write_ns: float = 20

    def __post_init__(self):
        if self.generation not in _RATES:
            raise ValueError(f"`generation` must be 3, 4 or 5, not {self.generation!r}")
        if self.width not in (1, 2, 4, 8, 16):
            raise ValueError(f"`width` must be 1, 2, 4, 8 or 16, not {self.width!r}")
        if self.completions not in POLICIES:
            raise ValueError(f"`completions` must be one of {', '.join(POLICIES)}, "
                             f"not {self.completions!r}")
        if self.dllp not in DLLPS:
            raise ValueError(f"`dllp` must be one of {', '.join(DLLPS)}, not {self.dllp!r}")
        if self.rcb not in (64, 128):
            raise ValueError(f"`rcb` must be 64 or 128, not {self.rcb!r}")
        if self.host_latency_ns < self.dequeue_ns:
            object.__setattr__(self, "dequeue_ns", self.host_latency_ns)

    @property
    def octets_per_ns(self):
        """Raw octets each way, after 128b/130b."""
        return _RATES[self.generation] * self.width / 8 * 128 / 130

    @property
    def dllp_timer_ns(self):
        """The latency limit for ACK, which we use for UpdateFC too."""
        factor = {1: 1.4, 2: 1.4, 4: 1.4, 8: 2.5, 16: 3.0}[self.width]
        symbol_times = (self.mps + 28) * factor / self.width + 115  # internal delay
        return symbol_times * 8 / _RATES[self.generation]

    def settings(self, card):
        """Names and values of the compiled world's settings, for a card's configuration."""
        ph, pd, nph, npd = self.credits
        return {
            "period_ps": 1_000_000 / card.clock_mhz, "octets_per_ns": self.octets_per_ns,
            "wire_delay_ps": self.wire_delay_ns * 1000, "dllp": DLLPS[self.dllp],
            "ack_timer_ps": self.dllp_timer_ns * 1000, "fc_timer_ps": self.dllp_timer_ns * 1000,
            "tx_buffer_octets": self.tx_buffer_octets,
            "host_latency_ps": self.host_latency_ns * 1000,
            "latency_spread_ps": self.latency_spread_ns * 1000,
            "dequeue_ps": self.dequeue_ns * 1000, "policy": POLICIES[self.completions],
            "interleave": self.interleave, "mps": 128, "mrrs": 512, "cpl_mps": self.mps,
            "rcb": self.rcb, "extended_tags": 0, "nvme_mrrs": 512, "nvme_extended_tags": 0,
            "first_nvme_vf": card.first_nvme_vf, "sriov": spec_config.SRIOV,
            "ph": ph, "pd": pd, "nph": nph, "npd": npd,
            "seed": self.seed, "port_gbps": card.port_gbps,
            "dram_octets_per_ns": self.dram_octets_per_ns,
            "dram_read_ps": self.dram_read_ns * 1000, "dram_write_ps": self.dram_write_ns * 1000,
        }


LINKS = {
    "gen3x16": LinkConfig(generation=3, width=16),
    "gen4x8":  LinkConfig(generation=4, width=8),
    "gen3x8":  LinkConfig(generation=3, width=8),
    "gen4x16": LinkConfig(generation=4, width=16),
}
