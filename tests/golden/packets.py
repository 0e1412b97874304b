"""Frames made by others, octet for octet, and what their standards say is in them.

Origins: RFC 1071, section 3, for the sum; the Wikipedia article "Internet checksum" for the IPv4
header with checksum b861; the frames were printed by scapy 2.8.0 (``bytes(frame).hex()``), whose
layers are another's reading of the standards.
"""

__all__ = ["RFC1071_OCTETS", "RFC1071_SUM", "IPV4_HEADER", "FRAMES"]

# Ref: rfc-1071, 3 (Numerical Examples): the words 0001 f203 f4f5 f6f7 add up to ddf2.
RFC1071_OCTETS = bytes.fromhex("0001f203f4f5f6f7")
RFC1071_SUM    = 0xDDF2

IPV4_HEADER = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")

DB8_1 = 0x20010DB8_00000000_00000000_00000001
DB8_2 = 0x20010DB8_00000000_00000000_00000002
MAC_A, MAC_B = 0x02000000000A, 0x02000000000B

# (frame, from the wire, fields of its key): each as the text of its standard has it.
FRAMES = (
    # IPv4, TCP with SYN
    (bytes.fromhex(
        "02000000000b02000000000a0800450000280001000009069dcd0a0000010a00000203e80050000000000000"
        "00005002200077a80000"), False,
     {"source_address": 0x0A000001, "destination_address": 0x0A000002, "source_port": 1000,
      "destination_port": 80, "protocol": 6, "l3_type": 1, "vlan_valid": 0, "tunnel": 0}),
    # VLAN 5, IPv6, UDP
    (bytes.fromhex(
        "02000000000b02000000000a8100000586dd60000000000b110320010db800000000000000000000000120010d"
        "b800000000000000000000000200350036000bdf95616263"), False,
     {"source_address": DB8_1, "destination_address": DB8_2, "source_port": 53,
      "destination_port": 54, "protocol": 17, "l3_type": 2, "vlan_valid": 1, "vlan": 5}),
    # VXLAN of network 77, inside an ICMP echo request, identifier 99
    (bytes.fromhex(
        "02000000000b02000000000a08004500004e00010000401174990101010102020202c35012b5003ac259080000"
        "0000004d0002000000000b02000000000a08004500001c0001000040016cd303030303040404040800f79b0063"
        "0001"), True,
     {"source_address": 0x03030303, "destination_address": 0x04040404, "source_port": 99,
      "destination_port": 99, "protocol": 1, "l3_type": 1, "tunnel": 1, "vni": 77}),
    # ARP
    (bytes.fromhex(
        "02000000000b02000000000a0806000108000604000102000000000a0a0000010000000000000a000002"),
     False,
     {"source_address": MAC_A, "destination_address": MAC_B, "source_port": 0x0806,
      "destination_port": 0x0806, "protocol": 0, "l3_type": 0}),
    # ICMPv6 echo request, identifier 1234
    (bytes.fromhex(
        "02000000000b02000000000a86dd6000000000083a4020010db800000000000000000000000120010db8000000"
        "0000000000000000028000121212340002"), False,
     {"source_address": DB8_1, "destination_address": DB8_2, "source_port": 0x1234,
      "destination_port": 0x1234, "protocol": 58, "l3_type": 2}),
    # ICMP host unreachable: type 3, code 1
    (bytes.fromhex(
        "02000000000b02000000000a08004500002400010000400166d60a0000010a0000020301fcfe00000000000000"
        "0000000000"), False,
     {"source_port": 0x0301, "destination_port": 0x0301, "protocol": 1, "l3_type": 1}),
)
