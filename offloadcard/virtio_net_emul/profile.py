"""What the provider gives a function, and what happens to a function from inside the card."""

# Ref: virtio-1.2, 5.1.4 (Device configuration layout)

from amaranth import *
from amaranth.lib import data

from .spec import MTU_DEFAULT

__all__ = ["EVENT_FAIL", "EVENT_STOP", "EVENT_CLEAR", "EVENT_END", "EVENT_CHANGE", "life_event",
           "profile_row", "mac_of", "mtu_of"]

EVENT_FAIL, EVENT_STOP, EVENT_CLEAR, EVENT_END, EVENT_CHANGE = range(5)



def life_event(geometry):
    """What happens to a function from inside the card; ``pair`` with ``EVENT_CLEAR``."""
    return data.StructLayout({
        "kind": 3, "function_id": geometry.id_width, "pair": max(1, geometry.pair_bits)})


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
