"""Transaction layer packets: headers, formats, completion status, credits.

Each header is four DWs, each DW declared from bit 0 upwards; bit 31 of a DW is bit 7 of its first
octet, so ``octets.pack(shape, fields, swap=4)`` gives the octets of the link, and the first 12 of
them where the format has three DWs (the fourth DW is then zero).
"""

# Ref: pcie-5.0, 2.2 (Transaction Layer Protocol - Packet Definition), 2.6 (Ordering and Receive
# Buffer Flow Control)

from amaranth.lib import data, enum

from ..rtl.regmap import Register, RegisterMap

__all__ = [
    "Fmt", "Type", "CplStatus", "MessageCode", "MemoryRequest", "MemoryRequest3Dw", "ConfigRequest",
    "Message", "Completion", "tlp_beat", "credit", "credits", "payload_credits", "MPS_OCTETS",
    "MRRS_OCTETS", "RCB_OCTETS", "DATA_CREDIT_OCTETS", "MANAGEMENT",
]


class Fmt(enum.IntEnum):
    """Format of a TLP: the number of header DWs, and whether data follow."""
    # [pcie-5.0: Table 2-2]
    THREE_DW      = 0b000
    FOUR_DW       = 0b001
    THREE_DW_DATA = 0b010
    FOUR_DW_DATA  = 0b011
    TLP_PREFIX    = 0b100


class Type(enum.IntEnum):
    """Type of a TLP. Routing of a message stands in the lowest three bits."""
    # [pcie-5.0: Table 2-3]
    MEMORY             = 0b00000  # MRd, MWr
    MEMORY_READ_LOCKED = 0b00001  # MRdLk
    IO                 = 0b00010
    CONFIG_0           = 0b00100
    CONFIG_1           = 0b00101
    COMPLETION         = 0b01010
    COMPLETION_LOCKED  = 0b01011
    FETCH_ADD          = 0b01100
    SWAP               = 0b01101
    CAS                = 0b01110
    MESSAGE            = 0b10000


class CplStatus(enum.IntEnum):
    """Completion status; the reserved values count as UR."""
    # [pcie-5.0: Table 2-34]
    SC  = 0b000
    UR  = 0b001
    CRS = 0b010
    CA  = 0b100


class MessageCode(enum.IntEnum):
    """Message codes that an endpoint may meet or sends."""
    # [pcie-5.0: 2.2.8]
    UNLOCK         = 0x00
    PM_ACTIVE_NAK  = 0x14
    PM_PME         = 0x18
    PME_TURN_OFF   = 0x19
    PME_TO_ACK     = 0x1b
    ERR_COR        = 0x30
    ERR_NONFATAL   = 0x31
    ERR_FATAL      = 0x33
    SET_SLOT_POWER = 0x50
    VENDOR_TYPE_0  = 0x7e
    VENDOR_TYPE_1  = 0x7f


def _dw0():
    """First DW of every header."""
    # [pcie-5.0: Figure 2-5]
    return {
        "length":  10,  # in DWs; 0 means 1,024
        "at":      2,
        "attr":    2,   # bit 0 no snoop, bit 1 relaxed ordering
        "ep":      1,   # poisoned
        "td":      1,   # a digest follows
        "th":      1,
        "ln":      1,
        "attr_2":  1,   # ID-based ordering
        "tag_8":   1,
        "tc":      3,
        "tag_9":   1,
        "type":    5,   # not `Type`: the other side may write any value
        "fmt":     3,   # not `Fmt`
    }


# [pcie-5.0: 2.2.7, Figure 2-17] 64-bit addressing
MemoryRequest = data.StructLayout({
    **_dw0(),
    "first_be":     4,
    "last_be":      4,
    "tag":          8,
    "requester_id": 16,
    "address_high": 32,
    "ph":           2,
    "address_low":  30,
})

# [pcie-5.0: 2.2.7, Figure 2-18] 32-bit addressing
MemoryRequest3Dw = data.StructLayout({
    **_dw0(),
    "first_be":     4,
    "last_be":      4,
    "tag":          8,
    "requester_id": 16,
    "ph":           2,
    "address_low":  30,
    "_rsvd96":      32,
})

# [pcie-5.0: 2.2.7, Figure 2-20]
ConfigRequest = data.StructLayout({
    **_dw0(),
    "first_be":     4,
    "last_be":      4,
    "tag":          8,
    "requester_id": 16,
    "_rsvd64":      2,
    "register":     10,  # DW number: Register Number and Extended Register Number
    "_rsvd76":      4,
    "completer_id": 16,
    "_rsvd96":      32,
})

# [pcie-5.0: 2.2.8, Figure 2-21]
Message = data.StructLayout({
    **_dw0(),
    "code":         8,
    "tag":          8,
    "requester_id": 16,
    "dw2":          32,
    "dw3":          32,
})

# [pcie-5.0: 2.2.9, Figure 2-29]
Completion = data.StructLayout({
    **_dw0(),
    "byte_count":    12,  # 0 means 4,096
    "bcm":           1,
    "status":        3,   # not `CplStatus`
    "completer_id":  16,
    "lower_address": 7,
    "_rsvd71":       1,
    "tag":           8,
    "requester_id":  16,
    "_rsvd96":       32,
})

for _shape in (MemoryRequest, MemoryRequest3Dw, ConfigRequest, Message, Completion):
    assert _shape.size == 128


def tlp_beat(*, data_width, segments=1):
    """One beat of a TLP stream.

    ``header`` is constant from ``first`` to ``last``; the payload is aligned to octet 0 of ``data``
    (the first octet of its first DW) and fills all beats but the last. A TLP without data is one
    beat. ``error`` counts with ``last``: the TLP is nullified and shall be ignored.

    ``segments`` is the number of such beats side by side in one transfer; only 1 is built so far.
    """
    if data_width not in (64, 128, 256, 512):
        raise ValueError(f"`data_width` must be 64, 128, 256 or 512, not {data_width!r}")
    if segments != 1:
        raise ValueError(f"`segments` must be 1, not {segments!r}")
    return data.StructLayout({
        "header": data.ArrayLayout(32, 4),
        "data":   data.ArrayLayout(8, data_width // 8),
        "first":  1,
        "last":   1,
        "error":  1,
    })


def credit(*, width):
    """One kind of credit: a running count, modulo ``2 ** width``, and whether it is infinite."""
    return data.StructLayout({"count": width, "infinite": 1})


def credits():
    """All kinds of credits, as CREDIT_LIMIT or CREDITS_ALLOCATED.

    Headers count by TLP modulo 2^8, data by 16 octets modulo 2^12.
    """
    # [pcie-5.0: 2.6.1.2]
    return data.StructLayout({
        "ph":   credit(width=8),
        "pd":   credit(width=12),
        "nph":  credit(width=8),
        "npd":  credit(width=12),
        "cplh": credit(width=8),
        "cpld": credit(width=12),
    })


DATA_CREDIT_OCTETS = 16

# [pcie-5.0: 7.5.3.4] Max_Payload_Size and Max_Read_Request_Size by their encoding.
MPS_OCTETS  = (128, 256, 512, 1024, 2048, 4096)
MRRS_OCTETS = (128, 256, 512, 1024, 2048, 4096)

# [pcie-5.0: 2.3.1.1] A completer cuts its completions at multiples of this, 64 or 128.
RCB_OCTETS = (64, 128)


def payload_credits(length_dw):
    """Data credits of a payload of ``length_dw`` DWs."""
    return (length_dw + 3) // 4


# Registers of the requester for the card's own processor, from 0x8000 of the house on; what
# guests do is counted in `spec_config.MANAGEMENT`. Counters wrap.
MANAGEMENT = RegisterMap("pcie.dma", (
    Register("DMA_ID", 0x8000, 64, "ro", "ours", reset=0x414D_4445_4943_50,
             doc="ASCII: PCIEDMA"),
    Register("READ_REQUESTS", 0x8008, 32, "ro", "ours", doc="reads that got their slot"),
    Register("READ_TLPS", 0x8010, 32, "ro", "ours", doc="MRd that left"),
    Register("WRITES", 0x8018, 32, "ro", "ours", doc="writes accepted"),
    Register("WRITE_TLPS", 0x8020, 32, "ro", "ours", doc="MWr that left"),
    Register("REFUSED_WRITES", 0x8028, 32, "ro", "ours",
             doc="their function was not alive or not bus master"),
    Register("UNEXPECTED", 0x8030, 32, "ro", "ours", doc="completions for nobody"),
    Register("MALFORMED", 0x8038, 32, "ro", "ours", doc="completions that do not fit their read"),
    Register("POISONED", 0x8040, 32, "ro", "ours", doc="completions with EP set"),
    Register("ABORTED", 0x8048, 32, "ro", "ours", doc="completions UR, CA, or of another status"),
    Register("TIMED_OUT", 0x8050, 32, "ro", "ours", doc="reads that nobody completed"),
    Register("FREE_TAGS", 0x8058, 32, "ro", "ours", doc="tags that no read has, now"),
))
