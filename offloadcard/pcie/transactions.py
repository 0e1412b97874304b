"""Shapes in which the parts of the front hand requests and completions to one another."""

# Ref: pcie-5.0, 2.2.9 (Completion Rules)

from amaranth.lib import data

__all__ = [
    "SC", "UR", "CRS", "CA", "transaction", "completion", "config_request", "received", "access",
    "access_request", "access_reply", "RESET_FUNCTION", "RESET_VFS", "RESET_FAMILY", "RESET_ALL",
    "reset_request", "opening",
]

SC, UR, CRS, CA = 0b000, 0b001, 0b010, 0b100  # [pcie-5.0: 2.2.9.1] completion status

# Who ends: one function; the virtual functions of a physical one; both; everyone.
RESET_FUNCTION, RESET_VFS, RESET_FAMILY, RESET_ALL = range(4)


def transaction():
    """What a completion repeats of its request."""
    return data.StructLayout({"requester_id": 16, "tag": 10, "tc": 3, "attr": 3, "locked": 1})


def completion():
    """A completion of up to two DWs, before it is a TLP."""
    return data.StructLayout({
        "transaction":   transaction(),
        "completer_id":  16,
        "status":        3,
        "length_dw":     2,  # 0: without data
        "byte_count":    12,
        "lower_address": 7,
        "data":          64,
    })


def config_request():
    """A configuration request. ``bdf`` is its destination as written in the TLP."""
    return data.StructLayout({
        "transaction": transaction(),
        "write":       1,
        "type1":       1,
        "poisoned":    1,
        "bdf":         16,
        "register":    10,  # number of the DW
        "byte_enable": 4,
        "data":        32,
    })


def received():
    """A request after its header was read. One of ``write``, ``read`` and ``refuse`` is set.

    ``byte_enable`` and ``data`` lie in the eight octets around the address, if it is not ``long``.
    """
    return data.StructLayout({
        "transaction":   transaction(),
        "write":         1,
        "read":          1,
        "refuse":        1,   # a non-posted request that the card does not support
        "poisoned":      1,
        "address":       64,
        "data":          64,
        "byte_enable":   8,
        "length_dw":     2,
        "byte_count":    12,
        "lower_address": 7,
        "long":          1,   # more than eight octets, or across a boundary of eight
        "header":        data.ArrayLayout(32, 4),
    })


def access(*, function_id_width):
    """A memory request that lies in a BAR of ``function_id``, on its way to device or MSI-X."""
    return data.StructLayout({
        "transaction":   transaction(),
        "function_id":   function_id_width,
        "offset":        16,  # a multiple of 8
        "byte_enable":   8,
        "data":          64,
        "upper":         1,   # the first DW is the upper one of the eight octets
        "length_dw":     2,
        "byte_count":    12,
        "lower_address": 7,
        "abort":         1,   # Completer Abort: too long, or across eight octets
    })


def access_request(*, function_id_width):
    """A register access made by a configuration request (virtio's PCI configuration access)."""
    return data.StructLayout({
        "function_id": function_id_width,
        "offset":      16,
        "write":       1,
        "byte_enable": 8,
        "data":        64,
    })


def access_reply():
    """Its end: the eight octets at the offset; zero after a write or an error."""
    return data.StructLayout({"data": 64})


def reset_request(*, function_id_width):
    """Somebody asked for an end. ``scope`` is one of ``RESET_*``."""
    return data.StructLayout({"function_id": function_id_width, "scope": 2})


def opening(*, function_id_width):
    """A function begins anew; ``sticky`` keeps what the standard wants kept over a reset."""
    return data.StructLayout({"function_id": function_id_width, "sticky": 1})
