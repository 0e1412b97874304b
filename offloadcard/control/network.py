"""Virtual networks: what the provider knows, and the layers that follow from it.

A *port* is the network side of a function: its addresses in a virtual network, its access list,
its public addresses, its limit. Layers of a port, outbound: ``guard`` (only its own addresses
leave), ``acl``, ``meter``, ``nat``, ``route``. Two ports of one virtual network on this card reach
each other without the wire; other members by VXLAN; the rest of the world by public addresses.
"""

# Ref: rfc-7348, 4 and 5 (VXLAN)

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from .dhcp import Lease
from .flow import Direction, Transposition, Tunnel
from .policy import Allow, Deny, Group, Layer, Match, Rewrite, Rule, ToFunction, ToWire

__all__ = ["Fabric", "VirtualNetwork", "Remote", "Nat", "AclRule", "Port", "layers_of_port"]

_IN, _OUT = Direction.INBOUND, Direction.OUTBOUND


def _host(address):
    return ip_network(address)


@dataclass(frozen=True)
class Fabric:
    """The provider's own network: this card's tunnel end point and its next hop."""
    address:      IPv4Address
    mac:          bytes
    next_hop_mac: bytes


@dataclass(frozen=True)
class Remote:
    """A member of a virtual network behind another tunnel end point."""
    mac:  bytes
    vtep: IPv4Address


@dataclass
class VirtualNetwork:
    """A tenant's network: its VNI, its prefixes, its router's MAC and addresses, its members
    elsewhere."""
    vni:         int
    prefixes:    tuple[IPv4Network | IPv6Network, ...]
    gateway_mac: bytes
    remotes:     dict = field(default_factory=dict)  # address -> Remote
    gateways:    tuple[IPv4Address | IPv6Address, ...] = ()

    def __post_init__(self):
        if self.vni not in range(1, 1 << 24):
            raise ValueError(f"`vni` must be 1 to {(1 << 24) - 1}, not {self.vni!r}")
        self.prefixes = tuple(ip_network(prefix) for prefix in self.prefixes)

    def same_prefix(self, one, other):
        """Are both addresses in one prefix, so that no router lies between?"""
        return any(one in prefix and other in prefix for prefix in self.prefixes)


@dataclass(frozen=True)
class Nat:
    """A public address, or one port of it, that stands for a private one."""
    public:       IPv4Address | IPv6Address
    private:      IPv4Address | IPv6Address
    protocol:     int | None = None
    public_port:  int | None = None
    private_port: int | None = None

    def __post_init__(self):
        if self.public.version != self.private.version:
            raise ValueError(f"`public` must be of the version of {self.private}, "
                             f"not {self.public}")
        if (self.public_port is None) != (self.private_port is None):
            raise ValueError("`public_port` must be given with `private_port`, or neither")
        if self.public_port is not None and self.protocol not in (6, 17):
            raise ValueError(f"`protocol` must be 6 or 17 where ports are mapped, "
                             f"not {self.protocol!r}")


@dataclass(frozen=True)
class AclRule:
    """One line of an access list: the first priority that matches decides."""
    name:     str
    priority: int
    match:    Match
    allow:    bool


@dataclass
class Port:
    """The network side of a function."""
    function_id: int
    network:     VirtualNetwork
    mac:         bytes
    addresses:   tuple[IPv4Address | IPv6Address, ...]
    acl:         tuple[AclRule, ...] = ()
    nats:        tuple[Nat, ...] = ()
    dscp:        int | None = None
    mtu:         int = 1500
    lease:       Lease | None = None  # what DHCP tells its guest; without one it is not answered


def _guard(port):
    """Only a port's own addresses leave it."""
    own = [Rule(f"own {address}", 100, Match(_OUT, source=_host(address)), Allow())
           for address in port.addresses]
    return Layer("guard", [Group("source", [*own, Rule("spoofed", 0, Match(_OUT), Deny())])])


def _acl(port):
    """Replies to what was let through pass; then the port's own lines; then inbound is denied."""
    established = Rule("established", 1 << 20, Match(established=True), Allow(stateful=True),
                       terminating=True)
    lines = [Rule(line.name, line.priority, line.match,
                  Allow(stateful=True) if line.allow else Deny(),
                  terminating=line.allow) for line in port.acl]
    ends = [Rule("outbound", -1, Match(_OUT), Allow(stateful=True)),
            Rule("inbound", -1, Match(_IN), Deny())]
    return Layer("acl", [Group("stateful", [established]), Group("lines", [*lines, *ends])])


def _marks(port):
    """The DSCP of what leaves."""
    if port.dscp is None:
        return Layer("dscp", [])
    mark = Rule("mark", 0, Match(_OUT), Rewrite(Transposition(dscp=port.dscp)))
    return Layer("dscp", [Group("dscp", [mark])])


def _nat(port, fabric):
    """Public addresses: what leaves wears them, what comes for them is brought home."""
    network, rules = port.network, []
    for number, nat in enumerate(port.nats):
        one = None if nat.private_port is None else range(nat.private_port, nat.private_port + 1)
        public = None if nat.public_port is None else range(nat.public_port, nat.public_port + 1)
        specific = 10 if one else 0
        inside = [Rule(f"inside {number} {prefix}", 100, Match(_OUT, destination=prefix), Allow(),
                       terminating=True) for prefix in network.prefixes]
        rules += inside if not number else []
        rules.append(Rule(
            f"out {nat.public}", specific,
            Match(_OUT, source=_host(nat.private), protocol=nat.protocol, source_ports=one),
            ToWire(Transposition(source=nat.public, source_port=nat.public_port,
                                 source_mac=fabric.mac, destination_mac=fabric.next_hop_mac,
                                 decrement_ttl=True)), terminating=True))
        rules.append(Rule(
            f"in {nat.public}", specific,
            Match(_IN, vni=0, destination=_host(nat.public), protocol=nat.protocol,
                  destination_ports=public),
            ToFunction(port.function_id, Transposition(
                destination=nat.private, destination_port=nat.private_port,
                source_mac=network.gateway_mac, destination_mac=port.mac, decrement_ttl=True))))
    return Layer("nat", [Group("static", rules)])


def _macs(port, address, mac, own):
    """MAC addresses towards a member, and whether the router's hop counts."""
    direct = port.network.same_prefix(own, address)
    return {"source_mac": port.mac if direct else port.network.gateway_mac,
            "destination_mac": mac, "decrement_ttl": not direct}


def _route(port, ports, fabric):
    """Members of the virtual network, on this card or behind a tunnel; what comes from one."""
    network, local, remote, arrive = port.network, [], [], []
    for own in port.addresses:
        source = _host(own)
        for other in ports:
            for address in other.addresses:
                if address.version == own.version and other.network.vni == network.vni:
                    local.append(Rule(f"local {address}", 100,
                                      Match(_OUT, source=source, destination=_host(address)),
                                      ToFunction(other.function_id, Transposition(
                                          **_macs(port, address, other.mac, own)))))
        for address, member in network.remotes.items():
            if address.version == own.version:
                tunnel = Tunnel(network.vni, fabric.address, member.vtep, fabric.mac,
                                fabric.next_hop_mac)
                remote.append(Rule(f"remote {address}", 50,
                                   Match(_OUT, source=source, destination=_host(address)),
                                   ToWire(Transposition(push=tunnel, **_macs(
                                       port, address, member.mac, own)))))
        arrive.append(Rule(f"tunnel {own}", 50,
                           Match(_IN, vni=network.vni, destination=source),
                           ToFunction(port.function_id, Transposition(pop=True))))
        arrive.append(Rule(f"neighbour {own}", 10, Match(_IN, vni=0, destination=source),
                           ToFunction(port.function_id)))
    return Layer("route", [Group("members", local + remote + arrive)])


def layers_of_port(port, ports, fabric):
    """The layers of ``port`` in outbound order; ``ports`` are all of this card."""
    return [_guard(port), _acl(port), _marks(port), _nat(port, fabric),
            _route(port, ports, fabric)]
