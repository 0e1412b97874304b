"""What the requester remembers of a read: one record a tag, one a slot.

A request takes one *slot* of the reassembly buffer and one tag for each TLP; the slot bears the
number of the request's first tag, so one pool lends both.
"""

from amaranth.lib import data

from ..rtl.ports import READ_MAX

__all__ = ["INDEX_WIDTH", "EPOCH_WIDTH", "tag_record", "tag_state", "slot_record", "slot_state",
           "launch", "opening", "piece", "answer"]

INDEX_WIDTH = 3  # a request has at most 6 TLPs: 5 of 128 octets, one more for a page
EPOCH_WIDTH = 5


def tag_record(*, tags, function_id_width):
    """Written when a TLP is sent. ``toggle`` differs from the state's while the tag is out."""
    return data.StructLayout({
        "requester_id": 16,
        "function_id":  function_id_width,
        "port":         1,
        "slot":         range(tags),
        "index":        INDEX_WIDTH,      # of the TLP in its request
        "last":         1,                # the request's last TLP
        "position":     range(READ_MAX),  # of its first octet in the slot
        "octets":       range(READ_MAX + 1),
        "lower":        7,                # Lower Address of the first completion
        "epoch":        EPOCH_WIDTH,
        "toggle":       1,
    })


def tag_state():
    """Written as completions come. ``quarantined``: its request was answered without it."""
    return data.StructLayout({
        "toggle":      1,
        "done":        range(READ_MAX + 1),
        "error":       1,
        "quarantined": 1,
    })


def slot_record(*, function_id_width, tag_width, data_width):
    """Written when a request is accepted."""
    return data.StructLayout({
        "function_id": function_id_width,
        "port":        1,
        "tag":         tag_width,  # the client's
        "lane":        range(data_width // 8),
        "length":      range(READ_MAX + 1),
    })


def slot_state():
    """Written as TLPs end; all zero between requests.

    ``total`` is unknown (0) until the last TLP has ended. ``held``: the slot's own tag is
    quarantined and returns without it.
    """
    return data.StructLayout({"ended": INDEX_WIDTH, "total": INDEX_WIDTH, "error": 1, "held": 1})


def launch(*, tags, function_id_width):
    """A TLP leaves, or is refused, with this record."""
    return data.StructLayout({
        "tag":    range(tags),
        "record": tag_record(tags=tags, function_id_width=function_id_width),
    })


def opening(*, tags, **widths):
    """A request gets its slot."""
    return data.StructLayout({"slot": range(tags), "record": slot_record(**widths)})


def piece(*, tags, data_width):
    """A beat of a completion: lanes ``low`` … ``high - 1`` go into the slot.

    Lane 0 stands at ``position`` of the slot, modulo its size.
    """
    return data.StructLayout({
        "slot":     range(tags),
        "position": range(READ_MAX),
        "data":     data_width,
        "low":      2,
        "high":     range(data_width // 8 + 1),
    })


def answer(*, tags, **widths):
    """A request is complete; ``free``: the slot's tag returns with it."""
    return data.StructLayout({
        "slot":   range(tags),
        "record": slot_record(**widths),
        "error":  1,
        "free":   1,
    })
