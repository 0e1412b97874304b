"""Routing ids, BARs and ``function_id``: the only place where they meet.

Also the shapes in which the front of the endpoint speaks about functions.
"""

# Ref: sriov-1.1, 2.1.2 (VF Discovery), 3.3.9 (First VF Offset), 3.3.10 (VF Stride)
# Ref: pcie-5.0, 6.13 (Alternative Routing-ID Interpretation)

from amaranth import *
from amaranth.lib import data

__all__ = ["function_row", "pf_settings", "settings", "error_event", "error_message", "released",
           "routing_id"]


def function_row(*, function_id_width):
    """News about a function, sent whenever its row changes; each consumer keeps its own copy.

    Copies begin as all zero. ``bus_master`` and ``memory`` are zero outside D0. ``memory`` of a
    virtual function does not know the physical one's VF MSE, which stands in ``settings``.
    """
    return data.StructLayout({
        "function_id": function_id_width,
        "alive":       1,  # present and not being reset
        "bus_master":  1,
        "memory":      1,
        "msix_enable": 1,
        "msix_mask":   1,
    })


def pf_settings(*, function_id_width):
    """What software has set in a physical function, for itself and its virtual ones."""
    return data.StructLayout({
        "memory":          1,
        "bar0":            48,  # address bits 63:16
        "bar2":            48,
        "max_read":        3,   # Max_Read_Request_Size: 128 << max_read octets
        "extended_tag":    1,
        "timeout_disable": 1,   # Completion Timeout Disable
        "vf_enable":       1,
        "vf_memory":       1,   # VF Enable and VF MSE, and no VF of an earlier life is left open
        "num_vfs":         function_id_width,
        "vf_bar0":         48,
        "vf_bar2":         48,
    })


def settings(*, function_id_width):
    """What software has set in the card as a whole. ``pf`` is indexed by kind of device."""
    return data.StructLayout({
        "bus":         8,  # captured from configuration writes
        "ari":         1,  # ARI Capable Hierarchy, of PF0
        "max_payload": 3,  # Max_Payload_Size of function 0, which rules an ARI device
        "aperture":    data.ArrayLayout(3, 2),  # of a VF BAR: 64 KiB << 2 * aperture, per PF
        "pf":          data.ArrayLayout(pf_settings(function_id_width=function_id_width), 2),
    })


def error_event(*, function_id_width):
    """An error to be logged in the function's registers. Lossy: never stalls its cause.

    A read that its completer refused is logged and told by the completer; the function keeps that
    in Status, and ``error`` means nothing.
    """
    # Ref: pcie-5.0, 6.2.3.2.4 (Advisory Non-Fatal Error Cases), 7.5.1.1.4 (Status Register)
    return data.StructLayout({
        "function_id":  function_id_width,
        "error":        5,    # bit of the uncorrectable error status
        "advisory":     1,    # the requester was told by a completion: advisory non-fatal
        "master_abort": 1,    # a completion came with UR
        "target_abort": 1,    # or with CA
        "header":       data.ArrayLayout(32, 4),
    })


def error_message(*, function_id_width):
    """A message that tells the root complex of an error. Lossy: the registers keep it."""
    return data.StructLayout({"function_id": function_id_width, "code": 8})


def released():
    """Receive credits that came free in this cycle: headers by number, data by 16 octets."""
    return data.StructLayout({"ph": 4, "pd": 12, "nph": 4, "npd": 4})


def routing_id(m, settings, function_id):
    """Bus, device and function number of ``function_id``, as a new 16-bit signal of ``m``.

    With ARI all stand on the captured bus; without, virtual functions stand on the next one.
    """
    result = Signal(16)
    beyond = Signal()
    m.d.comb += [
        beyond.eq(~settings.ari & (function_id >= 2)),
        result.eq(Cat(Const(0, 8), settings.bus) + function_id + Cat(Const(0, 8), beyond)),
    ]
    return result
