"""Shapes that travel inside the house: entering beats, tokens, decisions, descriptors of egress."""

from amaranth.lib import data

from .spec import HEADER_WINDOW

__all__ = ["CELL_OCTETS", "PATCH_OCTETS", "EXIT_WIRE", "EXIT_GUESTS", "EXIT_SLOW", "side_band",
           "entering_beat", "token", "read_job", "write_job", "cells_of"]

CELL_OCTETS  = 256  # unit of the packet buffer
PATCH_OCTETS = 152  # outer 50, Ethernet with two tags 22, IPv4 with options 60, TCP 20

# Where a packet leaves.
EXIT_WIRE, EXIT_GUESTS, EXIT_SLOW = range(3)


def cells_of(octets):
    """Cells that a frame of ``octets`` octets takes."""
    return -(-octets // CELL_OCTETS)


def side_band():
    """What is known of a packet before its first octet; constant from first to last."""
    return data.StructLayout({
        "length":               14,
        "function_id":          12,  # 0 from the wire
        "injected":             1,
        # Of an injected packet; see `InjectDescriptor`.
        "verdict":              2,
        "counted":              1,
        "order_slot":           16,
        "destination":          2,
        "destination_function": 12,
    })


def entering_beat(*, data_width):
    """One beat of a packet that enters a lane."""
    return data.StructLayout({
        "data":  data_width,
        "side":  side_band(),
        "first": 1,
        "last":  1,
        "error": 1,
    })


def token(*, cell_width):
    """A packet that lies in the buffer, on its way to a decision."""
    return data.StructLayout({
        "window": 8 * HEADER_WINDOW,
        "side":   side_band(),
        "handle": cell_width,  # its first cell
        "cells":  8,           # how many it takes
        "fault":  5,           # Reason: it will be dropped for that
    })


def read_job(*, cell_width, data_width):
    """Fetch a packet's beats ``skip`` … ``skip + take - 1``, and give back its cells."""
    return data.StructLayout({
        "handle": cell_width,
        "cells":  8,
        "skip":   4 if data_width == 64 else 3,
        "take":   range(2048),
        "rotate": range(data_width // 8),
        "drops":  1,           # nothing of it will be written
        # What follows from the numbers, so that nobody compares them in the cycle of use.
        "reads":    1,         # `take` is not 0
        "one":      1,         # `take` is 1
        "one_cell": 1,
    })


def write_job(*, data_width, function_id_width):
    """Make a packet of patched octets and of those that were read.

    Octet n of the packet is octet n of ``patch`` where ``mask`` says so, else one of those read,
    rotated by ``rotate`` lanes; the first ``lead`` beats need none, and beat ``lead`` needs one
    more than the later ones if ``ahead``.
    """
    return data.StructLayout({
        "patch":       8 * PATCH_OCTETS,
        "mask":        PATCH_OCTETS,
        "beats":       range(2048),
        "take":        range(2048),
        "lead":        5,
        "ahead":       1,
        "leads":       1,  # `lead` is not 0
        "reads":       1,  # `take` is not 0
        "one":         1,  # `take` is 1
        "one_beat":    1,
        "rotate":      range(data_width // 8),
        "exit":        2,
        "function_id": function_id_width,
        "length":      14,
        "port":        2,
    })

