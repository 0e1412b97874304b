"""What the provider gives a function, what its driver chose, and what happens to it from inside."""

# Ref: virtio-1.2, 5.1.3 (Feature bits), 5.1.4 (Device configuration layout)

from amaranth import *
from amaranth.lib import data

from . import spec
from .spec import MTU_DEFAULT

__all__ = ["RECEIVE", "TRANSMIT", "CONTROL", "WAYS", "EVENT_FAIL", "EVENT_STOP", "EVENT_CLEAR",
           "EVENT_END", "EVENT_CHANGE", "EVENT_QUEUE", "life_event", "CHOICES", "choices",
           "profile_row", "mac_of", "mtu_of"]

# Ways of a queue; the control queue of a function stands at its pair 0.
RECEIVE, TRANSMIT, CONTROL = range(3)
WAYS = 3

EVENT_FAIL, EVENT_STOP, EVENT_CLEAR, EVENT_END, EVENT_CHANGE, EVENT_QUEUE = range(6)


def life_event(geometry):
    """What happens to a function from inside the card; ``pair`` with ``EVENT_CLEAR``, and with
    ``EVENT_QUEUE``, the end of one queue, which is of one ``way``."""
    return data.StructLayout({
        "kind": 3, "function_id": geometry.id_width, "pair": max(1, geometry.pair_bits),
        "way": range(WAYS)})


# What a driver chose of that which the engines must know, by the feature's number.
CHOICES = {
    "event_idx":  spec.VIRTIO_F_EVENT_IDX,       "indirect":   spec.VIRTIO_F_INDIRECT_DESC,
    "mrg_rxbuf":  spec.VIRTIO_NET_F_MRG_RXBUF,   "csum":       spec.VIRTIO_NET_F_CSUM,
    "guest_csum": spec.VIRTIO_NET_F_GUEST_CSUM,  "ring_reset": spec.VIRTIO_F_RING_RESET,
    "mq":         spec.VIRTIO_NET_F_MQ,          "ctrl_vq":    spec.VIRTIO_NET_F_CTRL_VQ,
    "ctrl_rx":    spec.VIRTIO_NET_F_CTRL_RX,     "ctrl_vlan":  spec.VIRTIO_NET_F_CTRL_VLAN,
    "ctrl_mac_addr": spec.VIRTIO_NET_F_CTRL_MAC_ADDR,
}
choices = data.StructLayout(dict.fromkeys(CHOICES, 1))


# What the provider gives a function. Each field is kept as the difference to its default, so that
# an empty row is a usable function: see `profile_of`.
profile_row = data.StructLayout({"mac": 48, "mtu": 16, "link_down": 1, "refused": 64})


def mac_of(profile, function_id):
    """The function's address: what was given, else 02:00:00:00:hi:lo of its number."""
    low, high = function_id[:8], function_id[8:]
    number = Cat(Const(0x02, 8), Const(0, 24), Cat(high, Const(0, 8))[:8], low)
    return (profile.mac ^ number)[:48]


def mtu_of(profile):
    """The function's MTU."""
    return (profile.mtu ^ MTU_DEFAULT)[:16]
