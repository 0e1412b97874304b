"""A flow: its UFID, its entry with the transposition, and the outer headers of a push.

All multi-octet values are numbers: an address or port reads as in its standard's text (most
significant octet first on the wire), an IPv4 address lies in the low 32 bits. The key has 384 bits,
the entry 512.
"""

# Ref: rfc-791, 3.1 (Internet Header Format); rfc-8200, 3 (IPv6 Header Format)
# Ref: rfc-9293, 3.1 (Header Format); rfc-768 (Format); rfc-792; rfc-4443
# Ref: rfc-7348, 5 (VXLAN Frame Format); ieee-802.1q-2018, 9.6 (VLAN Tag TCI Format)

from amaranth.lib import data, enum

from ..rtl.octets import size_of

__all__ = ["L3Type", "Direction", "Key", "TcpFlag", "DestinationKind", "VlanOperation", "FlowEntry",
           "Template", "checksum", "checksum_delta"]


class L3Type(enum.IntEnum):
    """What follows the Ethernet header. ``OTHER`` puts MACs and EtherType into the key."""
    OTHER = 0
    IPV4  = 1
    IPV6  = 2


class Direction(enum.IntEnum):
    """Where a packet entered."""
    GUEST = 0
    WIRE  = 1


class Key(data.Struct):
    """Unified flow id (UFID); 48 octets.

    From a guest: its headers and ``source`` = its ``function_id``. From the wire: ``source`` = 0,
    and if the frame is VXLAN its inner headers, ``tunnel`` = 1 and ``vni``. ICMP echo: both ports
    hold the identifier; ICMP otherwise: type << 8 | code in both. Protocols without ports: 0.
    ``L3Type.OTHER``: addresses are the MACs, both ports the EtherType, ``protocol`` 0.
    VLAN is that of the headers in the key (the inner ones of a tunnel).
    """
    source_address:      128
    destination_address: 128
    source_port:         16
    destination_port:    16
    vni:                 24
    protocol:            8
    source:              12
    direction:           1  # Direction
    tunnel:              1
    vlan:                12
    vlan_valid:          1
    l3_type:             2  # L3Type
    _rsvd:               35


class TcpFlag(enum.IntFlag):
    """Bits of ``tcp_exception`` and ``tcp_notify``."""
    FIN = 1
    SYN = 2
    RST = 4


class DestinationKind(enum.IntEnum):
    """Where a flow's packets go."""
    DROP      = 0
    WIRE      = 1
    FUNCTION  = 2  # `destination_function`; tenant to tenant, or from the wire to a guest
    EXCEPTION = 3


class VlanOperation(enum.IntEnum):
    """What becomes of the (first) VLAN tag."""
    KEEP = 0
    POP  = 1
    SET  = 2  # push, or rewrite one that is there; TPID 0x8100


class FlowEntry(data.Struct):
    """Action of a flow, the transposition included; 64 octets.

    Order of the edits: pop, then L2 to L4 of what remains, then push. Checksum deltas are added
    (one's complement) to the complement of the field: ``checksum_delta(old, new)`` over the words
    that NAT changes: addresses for ``l3_delta``; addresses and ports for ``l4_delta`` (ICMPv4 has
    no addresses in it). TTL and DSCP are accounted for by the card. NAT addresses are IPv4 only.
    """
    valid:                1  # set by the card
    destination:          2  # DestinationKind
    destination_function: 12
    owner:                12  # function whose generation counts
    layer_set:            2
    metered:              1   # `meter` in place of the sender's own
    generation:           16
    meter:                12  # row of the senders' meters: a function_id
    tcp_exception:        3   # TcpFlag: such a segment goes to the slow path
    tcp_notify:           3   # TcpFlag: such a segment raises an event and goes on
    # Layer 2
    set_ethernet:         1
    vlan_operation:       2   # VlanOperation
    vlan_tci:             16
    ethernet_destination: 48
    ethernet_source:      48
    # Tunnel
    pop:                  1
    push:                 1
    template:             8
    vni:                  24
    # Layer 3
    decrement_ttl:        1
    set_dscp:             1
    dscp:                 6
    set_source_address:   1
    set_destination_address: 1
    source_address:       32
    destination_address:  32
    l3_delta:             16
    # Layer 4
    set_source_port:      1
    set_destination_port: 1
    source_port:          16
    destination_port:     16
    l4_delta:             16
    cookie:               32  # of the control plane
    _rsvd:                127


class Template(data.Struct):
    """Outer headers of a push; 32 octets.

    ``ip_sum`` is the folded one's complement sum of the IPv4 header's words with total length,
    identification and checksum zero: the card adds the length.
    """
    ethernet_destination: 48
    ethernet_source:      48
    source_address:       32
    destination_address:  32
    udp_port:             16
    dscp:                 6
    ecn:                  2
    ttl:                  8
    ip_sum:               16
    _rsvd:                48


assert size_of(Key) == 48 and size_of(FlowEntry) == 64 and size_of(Template) == 32


def _sum(octets):
    """Folded one's complement sum of big-endian words; an odd octet is padded."""
    octets = bytes(octets) + bytes(len(octets) % 2)
    total = sum(int.from_bytes(octets[n:n + 2], "big") for n in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(octets):
    """Internet checksum. Ref: rfc-1071, 1"""
    return _sum(octets) ^ 0xFFFF


def checksum_delta(old, new):
    """What ``l3_delta`` and ``l4_delta`` hold when octets ``old`` become ``new``.

    The card computes ~(~field + delta). Ref: rfc-1624, 3 (eqn. 3)
    """
    if len(old) != len(new) or len(old) % 2:
        raise ValueError("`old` and `new` must be equally many words, "
                         f"not {len(old)} and {len(new)} octets")
    return _sum(bytes(octet ^ 0xFF for octet in old) + bytes(new))
