"""Who speaks in a capture: its two busiest stations become two tenants of the card."""

from collections import Counter
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from sim.bridge.ethernet import read_pcap
from sim.demo.image import InputError
from sim.models.packet import Icmp, Ipv4, Ipv6, Malformed, Tcp, Udp, dissect

__all__ = ["Station", "Step", "stations_of", "steps_of"]

ARP, SOLICITATION = 0x0806, 135


class Station(NamedTuple):
    """One end of the captured traffic."""
    mac:       bytes
    addresses: tuple

    @property
    def prefixes(self):
        """The subnets its addresses lie in."""
        return tuple(dict.fromkeys(
            ip_network(f"{a}/{24 if a.version == 4 else 64}", strict=False)
            for a in self.addresses))


class Step(NamedTuple):
    """One captured frame: who sends it, and what the provider's policy says of it.

    ``fate`` is "passes" (reaches the other tenant), "denied" (leaves, but the first tenant has not
    begun that conversation and does not let it in), "asked" (the card answers ARP or neighbour
    discovery itself) or "stays" (multicast and link-local chatter leaves no tenant's link).
    """
    sender: int
    octets: bytes
    fate:   str


def _addresses(octets):
    """(source, destination) of an IP frame, or None."""
    try:
        headers = dissect(octets, tunnel=False).headers
    except Malformed:
        return None
    ip = next((h for h in headers if isinstance(h, Ipv4 | Ipv6)), None)
    return ip and (ip_address(ip.source), ip_address(ip.destination))


def stations_of(path):
    """The two stations of a capture, and its frames; InputError where there are none."""
    frames = [frame.octets for frame in read_pcap(path)]
    senders = Counter(octets[6:12] for octets in frames if len(octets) >= 14)
    macs = [mac for mac, _ in senders.most_common(2)]
    if len(macs) < 2:
        raise InputError(f"{path}: must hold frames of two stations, not {len(macs)}")
    macs.sort(key=lambda mac: next(n for n, octets in enumerate(frames)
                                   if octets[6:12] == mac and _speaks(octets)) if any(
        octets[6:12] == mac and _speaks(octets) for octets in frames) else len(frames))
    stations = []
    for mac in macs:
        own = dict.fromkeys(pair[0] for octets in frames if octets[6:12] == mac
                            and (pair := _addresses(octets)) and _global(pair[0]))
        if not own:
            raise InputError(f"{path}: must hold IP frames of {mac.hex(':')}")
        stations.append(Station(mac, tuple(own)))
    return stations, frames


def _global(address):
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)


def _speaks(octets):
    """Is it a unicast IP frame between routable addresses?"""
    pair = _addresses(octets)
    return bool(pair) and all(map(_global, pair))


def _question(octets):
    kind = int.from_bytes(octets[12:14], "big")
    if kind == ARP:
        return octets[20:22] == b"\0\1"
    if kind != 0x86DD:
        return False
    try:
        last = dissect(octets, tunnel=False).headers[-1]
    except Malformed:
        return False
    return isinstance(last, Icmp) and last.type == SOLICITATION and _global(
        _addresses(octets)[0])


def steps_of(stations, frames):
    """What becomes of each frame: who sends it and its fate."""
    steps, begun = [], set()
    for octets in frames:
        sender = next((n for n, s in enumerate(stations) if octets[6:12] == s.mac), None)
        if sender is None:
            continue
        pair, fate = _addresses(octets), "stays"
        if _question(octets):
            fate = "asked"
        elif pair and (pair[0] in stations[sender].addresses
                       and pair[1] in stations[1 - sender].addresses):
            flow = _flow(octets)
            if sender == 0:
                begun.add(flow)
            source, destination, protocol, one, other = flow
            replies = (destination, source, protocol, other, one) in begun
            fate = "passes" if sender == 0 or replies else "denied"
        steps.append(Step(sender, octets, fate))
    return steps


def _flow(octets):
    """What tells a flow apart, as a policy sees it: an echo's id stands for both ports."""
    headers = dissect(octets, tunnel=False).headers
    last = headers[-1]
    ports = (0, 0)
    if isinstance(last, Tcp | Udp):
        ports = last.source_port, last.destination_port
    elif isinstance(last, Icmp):
        ports = (last.type << 8 | last.code if last.identifier is None else last.identifier,) * 2
    ip = next(h for h in headers if isinstance(h, Ipv4 | Ipv6))
    protocol = ip.protocol if isinstance(ip, Ipv4) else ip.next_header
    return (*_addresses(octets), protocol, *ports)
