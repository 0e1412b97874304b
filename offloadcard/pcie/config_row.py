"""What is computed from a function's row: its state, its beginning, its error log, its window."""

# Ref: pcie-5.0, 6.2 (Error Signaling and Logging), 7.8.4 (Advanced Error Reporting)
# Ref: virtio-1.2, 4.1.4.9 (PCI configuration access capability)

from amaranth import *
from amaranth.lib import data

from . import spec_config as spec
from .config_map import FLAG_ABSENT, FLAG_CLOSED, SLOTS, Slot
from .spec import MessageCode
from .spec_config import FunctionState

__all__ = ["state_of", "fresh_row", "judge_error", "log_error", "window_of", "window_data"]

_CORRECTABLE, _NON_FATAL, _FATAL, _UNSUPPORTED = range(16, 20)  # of Device Status
_ADVISORY = 13  # of the correctable error status
_SERR     = 8   # of Command
# Of Status [pcie-5.0: 7.5.1.1.4]
_SIGNALED_TARGET_ABORT, _RECEIVED_TARGET_ABORT, _RECEIVED_MASTER_ABORT = 27, 28, 29
_SIGNALED_SYSTEM_ERROR, _DETECTED_PARITY_ERROR = 30, 31


def state_of(m, row, kind):
    """``FunctionState`` of ``row``, as a new signal of ``m``."""
    state   = Signal(FunctionState)
    command = row[Slot.COMMAND]
    d0      = Signal()
    m.d.comb += [
        d0.eq(row[Slot.PM][:2] == 0),
        state.closed.eq(row[Slot.FLAGS][FLAG_CLOSED]),
        state.absent.eq(row[Slot.FLAGS][FLAG_ABSENT]),
        # [pcie-5.0: 5.3.1.4.1] in D3hot a function answers configuration requests only.
        state.bus_master.eq(command[2] & d0),
        # [sriov-1.1: 3.4.1.3] a VF's Memory Space Enable is wired to zero; VF MSE rules.
        state.memory.eq((command[1] | kind[1]) & d0),
        state.msix_enable.eq(row[Slot.MSIX][31]),
        state.msix_mask.eq(row[Slot.MSIX][30]),
    ]
    return state


def fresh_row(m, images, row, kind, sticky):
    """``row`` as it begins anew, as a new signal of ``m``; ``sticky`` keeps what outlives a
    function-level reset. ``images`` is a ``ConfigMap``."""
    fresh = Signal.like(row)
    with m.Switch(kind):
        for number in range(spec.KINDS):
            with m.Case(number):
                for slot in range(SLOTS):
                    keep = images.keep[number][slot]
                    m.d.comb += fresh[slot].eq(
                        Mux(sticky | (slot == Slot.FLAGS), row[slot] & keep, 0)
                        | (images.reset[number][slot] & ~Mux(sticky, C(keep, 32), C(0, 32))))
    return fresh


_VERDICT = data.StructLayout({
    "own":      1,  # it is this function's to log
    "fatal":    1,
    "advisory": 1,
    "logged":   1,  # in the uncorrectable error status
    "first":    1,  # and, where none stands there, with its header
    "tells":    1,
    "system":   1,  # told as a system error
})


def judge_error(m, event, rules):
    """What ``rules``, of ``config_settings.error_rules``, say of ``event`` (``error_event``): a new
    register of ``m``, a cycle later."""
    verdict  = Signal(_VERDICT)
    # [pcie-5.0: Figure 6-2] the flow of logging
    bit      = Signal(32)
    own      = Signal()
    fatal    = Signal()
    advisory = Signal()
    logged   = Signal()
    unmasked = Signal()
    m.d.comb += [
        own.eq(~event.master_abort & ~event.target_abort),
        bit.eq(1 << event.error),
        fatal.eq((rules.severity & bit).any()),
        advisory.eq(event.advisory & ~fatal),
        logged.eq(own & (~advisory | ~rules.correctable_mask[_ADVISORY])),
        unmasked.eq(~(rules.mask & bit).any()),
    ]
    # [pcie-5.0: 6.2.5, 7.5.3.4] which messages are enabled: bits of Device Control, SERR# Enable
    serr, reports, tells = Signal(), Signal(), Signal()
    correctable, non_fatal, of_fatal, of_unsupported = rules.device
    m.d.comb += [
        serr.eq(rules.command[_SERR]),
        reports.eq((event.error != spec.ERROR_UNSUPPORTED) | of_unsupported),
        tells.eq(own & Mux(
            advisory, logged & reports & correctable,
            unmasked & (serr | reports & Mux(fatal, of_fatal, non_fatal)))),
    ]
    m.d.sync += [
        verdict.own.eq(own),
        verdict.fatal.eq(fatal),
        verdict.advisory.eq(advisory),
        verdict.logged.eq(logged),
        verdict.first.eq(logged & unmasked),
        verdict.tells.eq(tells),
        verdict.system.eq(tells & serr & ~advisory),
    ]
    return verdict


def log_error(m, row, row_w, event, verdict, messages, *, silent):
    """Write what ``event`` leaves in ``row`` through the write port ``row_w``; tell the root
    complex by the stream ``messages`` (``error_message``), as far as the function may.

    ``verdict`` is ``judge_error``'s. ``silent``: the function is being reset, or absent.
    """
    first, told = Signal(), Signal()
    m.d.comb += [
        first.eq(verdict.first & (row[Slot.UNCORRECTABLE] == 0)),
        told.eq(verdict.tells & ~silent),
        row_w.data[Slot.DEVICE].eq(
            row[Slot.DEVICE]
            | Mux(verdict.advisory, 1 << _CORRECTABLE,
                  Mux(verdict.fatal, 1 << _FATAL, 1 << _NON_FATAL))
            | Mux(event.error == spec.ERROR_UNSUPPORTED, 1 << _UNSUPPORTED, 0)),
        row_w.en[Slot.DEVICE].eq(verdict.own),
        row_w.data[Slot.CORRECTABLE].eq(row[Slot.CORRECTABLE] | 1 << _ADVISORY),
        row_w.en[Slot.CORRECTABLE].eq(verdict.own & verdict.advisory),
        row_w.data[Slot.UNCORRECTABLE].eq(row[Slot.UNCORRECTABLE] | 1 << event.error),
        row_w.en[Slot.UNCORRECTABLE].eq(verdict.logged),
        row_w.data[Slot.AER_CONTROL].eq(event.error),  # First Error Pointer
        row_w.en[Slot.AER_CONTROL].eq(first),
        messages.valid.eq(told),
        messages.p.function_id.eq(event.function_id),
        messages.p.code.eq(Mux(verdict.advisory, MessageCode.ERR_COR, Mux(
            verdict.fatal, MessageCode.ERR_FATAL, MessageCode.ERR_NONFATAL))),
        row_w.data[Slot.COMMAND].eq(
            row[Slot.COMMAND]
            | (verdict.own & (event.error == spec.ERROR_ABORT)) << _SIGNALED_TARGET_ABORT
            | event.target_abort << _RECEIVED_TARGET_ABORT
            | event.master_abort << _RECEIVED_MASTER_ABORT
            | (verdict.system & ~silent) << _SIGNALED_SYSTEM_ERROR
            | (verdict.own & (event.error == spec.ERROR_POISONED)) << _DETECTED_PARITY_ERROR),
        row_w.en[Slot.COMMAND].eq(1),
    ]
    for n in range(4):
        m.d.comb += [
            row_w.data[Slot.HEADER_LOG + n].eq(event.header[n]),
            row_w.en[Slot.HEADER_LOG + n].eq(first),
        ]


def window_of(m, row, request, access):
    """Fill ``access`` from the window that ``row`` names; whether it names one, as a new signal.

    [virtio-1.2: 4.1.4.9.1] 1, 2 or 4 octets, at a multiple of that, in the registers' BAR.
    """
    offset = row[Slot.VIRTIO_OFFSET]
    length = row[Slot.VIRTIO_LENGTH]
    valid  = Signal()
    sized  = Signal()
    enable = Signal(4)
    m.d.comb += [
        sized.eq(((length == 1)) | ((length == 2) & ~offset[0])
                 | ((length == 4) & (offset[:2] == 0))),
        valid.eq(sized & (row[Slot.VIRTIO_BAR][:8] == spec.BAR_REGISTERS)
                 & (offset[16:] == 0) & (row[Slot.PM][:2] == 0)),
        enable.eq(Cat(Const(1, 1), length[1] | length[2], length[2], length[2])),
        access.offset.eq(Cat(Const(0, 3), offset[3:16])),
        access.write.eq(request.write),
        access.byte_enable.eq(enable << offset[:3]),
        access.data.eq(request.data << (offset[:3] << 3)),
    ]
    return valid


def window_data(m, row, octets):
    """The octets of the window among the eight that a read brought, as a new signal of ``m``."""
    length  = row[Slot.VIRTIO_LENGTH]
    shifted = Signal(32)
    result  = Signal(32)
    m.d.comb += [
        shifted.eq(octets >> (row[Slot.VIRTIO_OFFSET][:3] << 3)),
        result.eq(Cat(shifted[:8], Mux(length[:3] == 1, 0, shifted[8:16]),
                      Mux(length[2], shifted[16:], 0))),
    ]
    return result
