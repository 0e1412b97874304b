"""What a network device does for its driver, untimed: commands answered, checksums completed."""

# Ref: virtio-1.2, 5.1.6.2 (Packet Transmission), 5.1.6.5 (Control Virtqueue)

from offloadcard.virtio_net_emul import spec
from offloadcard.virtio_net_emul import spec_control as control

from .packet import checksum

__all__ = ["answer", "completed"]


def completed(frame, start, offset):
    """The frame with its checksum in place; ``None`` if the field is not inside the frame."""
    spot = start + offset
    if spot + 2 > len(frame):
        return None
    value = checksum(frame[start:]) or 0xFFFF
    return frame[:spot] + value.to_bytes(2, "big") + frame[spot + 2:]


def _table_fits(body):
    """Two tables of addresses, each a number of entries and 6 octets for each."""
    entries = int.from_bytes(body[:4], "little")
    return len(body) >= 4 and entries < 1 << 16 and len(body) >= 8 + 6 * entries


def answer(octets, *, accepted, mac, pairs):
    """``(VIRTIO_NET_OK or VIRTIO_NET_ERR, pairs to use from now on or None)``."""
    kind, command, body = octets[0], octets[1], octets[2:]
    value = int.from_bytes(body, "little")
    has = lambda bit: accepted >> bit & 1
    sets = None
    good = False
    if kind == control.VIRTIO_NET_CTRL_RX:
        good = (command <= control.VIRTIO_NET_CTRL_RX_ALLMULTI and len(body) == 1
                and has(spec.VIRTIO_NET_F_CTRL_RX))
    elif kind == control.VIRTIO_NET_CTRL_MAC:
        if command == control.VIRTIO_NET_CTRL_MAC_TABLE_SET:
            good = _table_fits(body) and has(spec.VIRTIO_NET_F_CTRL_RX)
        elif command == control.VIRTIO_NET_CTRL_MAC_ADDR_SET:
            good = body == mac and has(spec.VIRTIO_NET_F_CTRL_MAC_ADDR)
    elif kind == control.VIRTIO_NET_CTRL_VLAN:
        good = (command <= control.VIRTIO_NET_CTRL_VLAN_DEL and len(body) == 2 and value < 4096
                and has(spec.VIRTIO_NET_F_CTRL_VLAN))
    elif kind == control.VIRTIO_NET_CTRL_MQ:
        good = (command == control.VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET and len(body) == 2
                and 1 <= value <= pairs and has(spec.VIRTIO_NET_F_MQ))
        sets = value if good else None
    return (control.VIRTIO_NET_OK if good else control.VIRTIO_NET_ERR), sets
