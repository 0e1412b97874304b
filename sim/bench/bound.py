"""What the link, the Ethernet line and the data path allow, in closed form for the very run.

Octets on the wire follow ``tlp.hpp``: 8 of framing, 16 or 12 of header, the payload in double
words. Everything that shapes them is an argument: completion policy, sizes, alignment, how many
ring entries are fetched or written at once, how long descriptor runs are.
"""

# Ref: pcie-5.0, 2.2 (header sizes), 4.2.2.3 (framing tokens)

from dataclasses import dataclass

__all__ = ["Batches", "Bound", "pieces", "read_octets", "write_octets", "bound_of"]

FRAMING, HEADER_4DW, HEADER_CPL, DLLP = 8, 16, 12, 8
LINE_OVERHEAD = 24  # FCS, gap and preamble of a frame


@dataclass(frozen=True)
class Batches:
    """How well rings are used: what the card's engines do at full load."""
    avail:  float = 32  # entries of the available ring a read
    desc:   float = 16  # descriptors a read
    used:   float = 16  # used elements a write
    sqe:    float = 8   # submission entries a read
    cqe:    float = 4   # completion entries a write
    msi:    float = 0   # operations an interrupt; 0: none


@dataclass(frozen=True)
class Bound:
    """Operations per microsecond that each resource allows; the least is the bound."""
    limits: dict
    up:     float    # octets an operation, from the card
    down:   float

    @property
    def value(self):
        """The least of the limits."""
        return min(self.limits.values())

    @property
    def by(self):
        """Name of the resource that bounds."""
        return min(self.limits, key=self.limits.get)


def _whole(address, length):
    """Octets in double words of a run that starts at ``address``."""
    return (address % 4 + length + 3) // 4 * 4


def pieces(address, length, link):
    """Payloads of the completions of a read, by the policy; ``mixed`` counts as its mean."""
    at, left, sizes = address - address % 4, _whole(address, length), []
    step = {"maximal": link.mps, "128": 128, "64": 64, "mixed": (link.mps + link.rcb) // 2}
    while left:
        most = step[link.completions]
        if link.completions in ("128", "64"):
            most -= at % most
        if left > most:
            size = most - (at + most) % link.rcb
        else:
            size = left
        sizes.append(size)
        at, left = at + size, left - size
    return sizes


def read_octets(address, length, link, *, mrrs=512):
    """``(up, down)`` octets of fetching ``length`` octets from ``address``."""
    up = down = 0
    while length:
        here = min(length, mrrs - address % 4, 4096 - address % 4096)
        up += FRAMING + HEADER_4DW
        down += sum(FRAMING + HEADER_CPL + size for size in pieces(address, here, link))
        address, length = address + here, length - here
    return up, down


def write_octets(address, length, link):
    """Octets up of writing ``length`` octets at ``address``."""
    up = 0
    while length:
        here = min(length, link.mps - address % 4, 4096 - address % 4096)
        up += FRAMING + HEADER_4DW + _whole(address, here)
        address, length = address + here, length - here
    return up


def _beats(sizes, width_octets):
    return sum(-(-size // width_octets) for size in sizes)


def _net(link, batches, octets, *, transmit):
    """Octets up and down, and beats on the card's completion and write streams, of a frame."""
    # Buffers start at 2 modulo 64, as skbs do. A header that says nothing is not read.
    length, at = (octets, 14) if transmit else (12 + octets, 2)
    up = down = 0
    # Available ring with its index, descriptors, used ring with its index.
    for size, share in ((2 * batches.avail, batches.avail), (2, batches.avail),
                        (16 * batches.desc, batches.desc)):
        u, d = read_octets(0, size, link)
        up, down = up + u / share, down + d / share
    up += (write_octets(0, 8 * batches.used, link) + write_octets(0, 2, link)) / batches.used
    if transmit:
        u, d = read_octets(at, length, link)
        up, down = up + u, down + d
    else:
        up += write_octets(at, length, link)
    if batches.msi:
        up += write_octets(0, 4, link) / batches.msi
    return up, down


def _nvme(link, batches, octets, *, write):
    up, down = read_octets(0, 64 * batches.sqe, link)
    up, down = up / batches.sqe, down / batches.sqe
    up += write_octets(0, 16 * batches.cqe, link) / batches.cqe
    if write:
        u, d = read_octets(0, octets, link)
        up, down = up + u, down + d
    else:
        up += write_octets(0, octets, link)
    if batches.msi:
        up += write_octets(0, 4, link) / batches.msi
    return up, down


def _streams(link, batches, config, octets, *, transmit):
    """Operations per microsecond that one beat a clock of the busiest TLP stream allows."""
    width = config.data_width // 8
    length = 12 + octets
    if transmit:
        beats = _beats(pieces(14, octets, link), width) \
            + _beats(pieces(0, 16 * batches.desc, link), width) / batches.desc \
            + 2 / batches.avail
    else:
        beats = _beats([_whole(2, length)], width) \
            + (_beats([8 * batches.used], width) + 1) / batches.used \
            + (1 / batches.msi if batches.msi else 0)  # messages leave among the writes
    return config.clock_mhz / beats


def _connections(scenario, config):
    """Connections per microsecond: two flows each, six packets of which the line carries four out.

    The engine's cycles are those of ``offloadcard.gft.engine``: INSERT 13, DELETE 12.
    """
    limits = {"insert engine": config.clock_mhz / (2 * 13 + 2 * 12),
              "line": config.port_gbps * 125 / (4 * (scenario.octets + 50 + LINE_OVERHEAD))}
    if scenario.service_ns:
        limits["slow path"] = 1000 * scenario.cores / scenario.service_ns
    return limits


def bound_of(scenario, config, link, batches=None, dllps=None, drives=0):
    """The :class:`Bound` of a scenario for a card and a link; ``drives`` are reads of 512 octets
    that went beside each frame.

    ``dllps`` are the octets ``(up, down)`` an operation that a run sent as ACK and UpdateFC.
    Without a run: an ACK and an UpdateFC of each kind within every latency limit, or one of each
    for a TLP.
    """
    batches = batches or Batches()
    spare = 3 * DLLP / link.dllp_timer_ns if link.dllp == "timer" and dllps is None else 0
    rate = (link.octets_per_ns - spare) * 1000  # octets per microsecond
    line = config.port_gbps * 125 / (scenario.octets + LINE_OVERHEAD)
    limits, up, down = {}, 0, 0
    if scenario.kind in ("net_tx", "net_bidir") or scenario.way in ("tx", "bidir"):
        up, down = _net(link, batches, scenario.octets, transmit=True)
        limits["tx stream"] = _streams(link, batches, config, scenario.octets, transmit=True)
        limits["line"] = line
    if scenario.kind in ("net_rx", "net_bidir") or scenario.way in ("rx", "bidir"):
        u, d = _net(link, batches, scenario.octets, transmit=False)
        up, down = up + u, down + d
        limits["rx stream"] = _streams(link, batches, config, scenario.octets, transmit=False)
        limits["line"] = line
    if scenario.kind in ("nvme", "nvme_sustained"):
        ways = (False, True) if scenario.mixed else (scenario.write,)
        each = [_nvme(link, batches, scenario.octets, write=write) for write in ways]
        up, down = (sum(way) / len(each) for way in zip(*each))
    if scenario.kind == "gft":
        out = scenario.octets + (50 if scenario.push else 0)
        limits["line in"] = line
        limits["line out"] = config.port_gbps * 125 / (out + LINE_OVERHEAD)
        limits["data path"] = config.clock_mhz / -(-out // (config.data_width // 8))
    if scenario.kind == "connections":
        limits |= _connections(scenario, config)
    if scenario.kind == "flow_operations":
        limits["insert engine"] = config.clock_mhz / 13
    if drives:
        u, d = _nvme(link, batches, 512, write=False)
        up, down = up + drives * u, down + drives * d
    if up and dllps is not None:
        up, down = up + dllps[0], down + dllps[1]
    elif up and link.dllp == "dense":
        up, down = up + 2 * DLLP, down + 2 * DLLP
    if up:
        limits["link up"] = rate / up
    if down:
        limits["link down"] = rate / down
    return Bound(limits, up, down)
