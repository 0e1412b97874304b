"""Frames for measuring: UDP over IPv4, any length from 60 octets, with right checksums."""

# Ref: rfc-791, 3.1; rfc-768

__all__ = ["udp_frame", "checksum"]

HEADERS = 14 + 20 + 8


def checksum(octets):
    """Internet checksum of an even number of octets."""
    total = sum(int.from_bytes(octets[n:n + 2], "big") for n in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def udp_frame(flow, octets):
    """A frame of ``octets`` without FCS, of a flow with addresses and ports as numbers."""
    if octets < 60:
        raise ValueError(f"`octets` must be 60 or more, not {octets!r}")
    length = octets - 14
    header = bytearray(20)
    header[0], header[2:4], header[8], header[9] = 0x45, length.to_bytes(2, "big"), 64, 17
    header[12:16] = flow.source.to_bytes(4, "big")
    header[16:20] = flow.destination.to_bytes(4, "big")
    header[10:12] = checksum(header).to_bytes(2, "big")
    # UDP without a checksum: all zero. [rfc-768]
    udp = b"".join(n.to_bytes(2, "big") for n in (
        flow.source_port, flow.destination_port, length - 20, 0))
    ethernet = bytes.fromhex("0200000000020200000000010800")
    return ethernet + bytes(header) + udp + bytes(octets - HEADERS)
