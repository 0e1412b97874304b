"""NVMe as the card speaks it: queue entries, properties, codes; and the house's own registers.

Structures carry the standard's field names and order. Identify and log pages are in
``spec_pages``. Fields that a guest writes are typed by width, never by an enum.
"""

# Ref: nvme-base-1.4c, 3.1 (Register Definition), 4.2 (Submission Queue Entry), 4.6 (Completion
#      Queue Entry), 5 (Admin Command Set), 6 (NVM Command Set)

from amaranth.lib import data, enum

from offloadcard.rtl.octets import size_of
from offloadcard.rtl.regmap import Register, RegisterMap

__all__ = [
    "VERSION", "PAGE_OCTETS", "DOORBELL_BASE", "SQE_OCTETS", "CQE_OCTETS", "AdminOpcode",
    "Opcode", "Status", "Feature", "LogPage", "IdentifyCns", "EventType", "ErrorEvent", "Sqe",
    "Cqe", "DsmRange", "DSM_RANGE_OCTETS", "DSM_DEALLOCATE", "Capabilities",
    "ControllerConfiguration", "ControllerStatus", "AdminQueueAttributes",
    "PROPERTIES", "doorbell_offset", "status_field", "event_result", "VolumeIndex", "VolumeFlags",
    "LimitCommands", "LimitBlocks", "MANAGEMENT", "VOLUMES", "BROADCAST_NSID", "SHST_NORMAL",
    "SHST_COMPLETE", "AERL", "ACL", "CSS_NVM",
]

VERSION        = 0x0001_0400  # 1.4.0
PAGE_OCTETS    = 4096         # MPSMIN = MPSMAX = 0
DOORBELL_BASE  = 0x1000
SQE_OCTETS     = 64
CQE_OCTETS     = 16
BROADCAST_NSID = 0xFFFF_FFFF
VOLUMES        = 4            # namespaces a function: NSID 1 to 4
AERL           = 3            # Async Event Requests held, 0's based
ACL            = 3            # concurrent Aborts, 0's based
CSS_NVM        = 0            # CC.CSS: NVM command set


class AdminOpcode(enum.IntEnum):
    """Admin command opcodes."""
    DELETE_SQ    = 0x00
    CREATE_SQ    = 0x01
    GET_LOG_PAGE = 0x02
    DELETE_CQ    = 0x04
    CREATE_CQ    = 0x05
    IDENTIFY     = 0x06
    ABORT        = 0x08
    SET_FEATURES = 0x09
    GET_FEATURES = 0x0A
    ASYNC_EVENT  = 0x0C


class Opcode(enum.IntEnum):
    """I/O command opcodes of the NVM command set."""
    FLUSH              = 0x00
    WRITE              = 0x01
    READ               = 0x02
    COMPARE            = 0x05
    WRITE_ZEROES       = 0x08
    DATASET_MANAGEMENT = 0x09


class Status(enum.IntEnum):
    """Status code type in bits 10:8, status code in bits 7:0."""
    # Ref: nvme-base-1.4c, figures 126 to 129
    SUCCESS                    = 0x000
    INVALID_OPCODE             = 0x001
    INVALID_FIELD              = 0x002
    DATA_TRANSFER_ERROR        = 0x004
    INTERNAL_ERROR             = 0x006
    ABORT_REQUESTED            = 0x007
    ABORT_SQ_DELETED           = 0x008
    INVALID_NAMESPACE          = 0x00B
    COMMAND_SEQUENCE_ERROR     = 0x00C
    INVALID_PRP_OFFSET         = 0x013
    LBA_OUT_OF_RANGE           = 0x080
    COMPLETION_QUEUE_INVALID   = 0x100
    INVALID_QUEUE_ID           = 0x101
    INVALID_QUEUE_SIZE         = 0x102
    ABORT_LIMIT_EXCEEDED       = 0x103
    ASYNC_EVENT_LIMIT_EXCEEDED = 0x105
    INVALID_INTERRUPT_VECTOR   = 0x108
    INVALID_LOG_PAGE           = 0x109
    INVALID_QUEUE_DELETION     = 0x10C
    FEATURE_NOT_SAVEABLE       = 0x10D
    FEATURE_NOT_CHANGEABLE     = 0x10E
    WRITE_TO_READ_ONLY         = 0x182
    WRITE_FAULT                = 0x280
    UNRECOVERED_READ_ERROR     = 0x281
    COMPARE_FAILURE            = 0x285


class Feature(enum.IntEnum):
    """Feature identifiers that the controller knows."""
    ARBITRATION             = 0x01
    POWER_MANAGEMENT        = 0x02
    TEMPERATURE_THRESHOLD   = 0x04
    ERROR_RECOVERY          = 0x05
    VOLATILE_WRITE_CACHE    = 0x06
    NUMBER_OF_QUEUES        = 0x07
    INTERRUPT_COALESCING    = 0x08
    INTERRUPT_VECTOR_CONFIG = 0x09
    WRITE_ATOMICITY         = 0x0A
    ASYNC_EVENT_CONFIG      = 0x0B


class LogPage(enum.IntEnum):
    """Log page identifiers that the controller knows."""
    ERROR         = 0x01
    SMART         = 0x02
    FIRMWARE_SLOT = 0x03


class IdentifyCns(enum.IntEnum):
    """What Identify shall return."""
    NAMESPACE         = 0x00
    CONTROLLER        = 0x01
    ACTIVE_NAMESPACES = 0x02
    DESCRIPTORS       = 0x03


class EventType(enum.IntEnum):
    """Asynchronous event types."""
    ERROR = 0


class ErrorEvent(enum.IntEnum):
    """Asynchronous event information of type ``ERROR``."""
    INVALID_DOORBELL_REGISTER = 0x00
    INVALID_DOORBELL_VALUE    = 0x01


class Sqe(data.Struct):
    """Submission queue entry; 64 octets, little-endian."""
    opcode:  8
    fuse:    2
    _rsvd10: 4
    psdt:    2
    cid:     16
    nsid:    32
    cdw2:    32
    cdw3:    32
    mptr:    64
    prp1:    64
    prp2:    64
    cdw10:   32
    cdw11:   32
    cdw12:   32
    cdw13:   32
    cdw14:   32
    cdw15:   32


class Cqe(data.Struct):
    """Completion queue entry; 16 octets. ``status`` is SCT and SC as in :class:`Status`."""
    dw0:    32
    _rsvd1: 32
    sqhd:   16
    sqid:   16
    cid:    16
    phase:  1
    status: 11
    crd:    2
    more:   1
    dnr:    1


class DsmRange(data.Struct):
    """A range of Dataset Management; 16 octets."""
    cattr: 32
    nlb:   32
    slba:  64


DSM_RANGE_OCTETS = size_of(DsmRange)
DSM_DEALLOCATE   = 1 << 2  # cdw11, AD

assert size_of(Sqe) == SQE_OCTETS
assert size_of(Cqe) == CQE_OCTETS


class Capabilities(data.Struct):
    """CAP."""
    mqes:    16
    cqr:     1
    ams:     2
    _rsvd19: 5
    to:      8
    dstrd:   4
    nssrs:   1
    css:     8
    bps:     1
    _rsvd46: 2
    mpsmin:  4
    mpsmax:  4
    pmrs:    1
    cmbs:    1
    _rsvd58: 6


class ControllerConfiguration(data.Struct):
    """CC."""
    en:      1
    _rsvd1:  3
    css:     3
    mps:     4
    ams:     3
    shn:     2
    iosqes:  4
    iocqes:  4
    _rsvd24: 8


class ControllerStatus(data.Struct):
    """CSTS."""
    rdy:    1
    cfs:    1
    shst:   2
    nssro:  1
    pp:     1
    _rsvd6: 26


SHST_NORMAL, SHST_COMPLETE = 0, 2


class AdminQueueAttributes(data.Struct):
    """AQA; both sizes 0's based."""
    asqs:    12
    _rsvd12: 4
    acqs:    12
    _rsvd28: 4


_P = "nvme-base-1.4c, 3.1"

PROPERTIES = RegisterMap("nvme", (
    Register("CAP",   0x00, Capabilities, "ro", f"{_P}.1", doc="capabilities"),
    Register("VS",    0x08, 32, "ro", f"{_P}.2", reset=VERSION, doc="version"),
    Register("INTMS", 0x0C, 32, "rw", f"{_P}.3", doc="interrupt mask, writing 1 sets"),
    Register("INTMC", 0x10, 32, "rw", f"{_P}.4", doc="interrupt mask, writing 1 clears"),
    Register("CC",    0x14, ControllerConfiguration, "rw", f"{_P}.5", doc="configuration"),
    Register("CSTS",  0x1C, ControllerStatus, "ro", f"{_P}.6", doc="status"),
    Register("AQA",   0x24, AdminQueueAttributes, "rw", f"{_P}.8", doc="admin queue sizes"),
    Register("ASQ",   0x28, 64, "rw", f"{_P}.9", doc="admin submission queue's base"),
    Register("ACQ",   0x30, 64, "rw", f"{_P}.10", doc="admin completion queue's base"),
), size=0x1000)


def doorbell_offset(qid, *, completion):
    """Offset of the doorbell of a queue; CAP.DSTRD is 0."""
    return DOORBELL_BASE + (2 * qid + bool(completion)) * 4


def status_field(status, *, dnr=True):
    """Bits 31:17 of CQE dword 3 as a number: status, and Do Not Retry unless it succeeded."""
    return int(status) | (bool(dnr and status) << 14)


def event_result(kind, information, page):
    """CQE dword 0 of an Asynchronous Event Request."""
    return int(kind) | int(information) << 8 | int(page) << 16


class VolumeIndex(data.Struct):
    """Which row of the volume table the window shows."""
    nsid:        8   # 1 to 4
    _rsvd8:      8
    function_id: 16


class VolumeFlags(data.Struct):
    """What a namespace is."""
    valid:       1
    read_only:   1
    blocks_4096: 1   # LBA size 4,096 octets, else 512
    _rsvd3:      13


class LimitCommands(data.Struct):
    """Commands that a function may ask for."""
    rate:  32   # a round, 16 fraction bits; 0 is unlimited
    burst: 16
    _rsvd: 16


class LimitBlocks(data.Struct):
    """Blocks of 512 octets that a function may ask for."""
    rate:  40   # a round, 16 fraction bits; 0 is unlimited
    burst: 24


_OURS = "ours"

MANAGEMENT = RegisterMap("nvme_management", (
    Register("VOLUME_INDEX",  0x000, VolumeIndex, "rw", _OURS, doc="row: function and NSID"),
    Register("VOLUME_BASE",   0x008, 48, "rw", _OURS, doc="DRAM octet address of block 0"),
    Register("VOLUME_BLOCKS", 0x010, 40, "rw", _OURS, doc="size in blocks"),
    Register("VOLUME_FLAGS",  0x018, VolumeFlags, "rw", _OURS, doc="valid, read only, LBA size"),
    Register("VOLUME_STORE",  0x020, 1, "wo", _OURS,
             doc="any write stores base, blocks and flags into the row; done after 64 cycles"),
    Register("MEDIA_LATENCY", 0x040, 20, "rw", _OURS,
             doc="cycles that each access of up to 512 octets waits for the media; 0 is off"),
    Register("MEDIA_RATE",    0x048, 20, "rw", _OURS,
             doc="octets a cycle that the media move, 8 fraction bits; 0 is unlimited"),
    Register("LIMIT_INDEX",    0x050, 16, "rw", _OURS, doc="function of the limits' window"),
    Register("LIMIT_COMMANDS", 0x058, LimitCommands, "rw", _OURS,
             doc="allowance of commands to be stored"),
    Register("LIMIT_BLOCKS",   0x060, LimitBlocks, "rw", _OURS,
             doc="allowance of blocks of 512 octets to be stored"),
    Register("LIMIT_STORE",    0x068, 1, "wo", _OURS, doc="any write stores both allowances"),
    Register("LIMIT_ROUND",    0x070, 32, "ro", _OURS, doc="cycles of a round"),
    Register("LIMIT_EXCEEDED", 0x078, 32, "ro", _OURS,
             doc="how often the function's queues were put off; wraps"),
    Register("COMMANDS",      0x080, 64, "ro", _OURS, doc="I/O commands accepted"),
    Register("REFUSED",       0x088, 64, "ro", _OURS, doc="I/O commands answered with an error"),
    Register("READ_OCTETS",   0x090, 64, "ro", _OURS, doc="octets read from volumes"),
    Register("WRITE_OCTETS",  0x098, 64, "ro", _OURS, doc="octets written to volumes"),
    Register("COMPLETIONS",   0x0A0, 64, "ro", _OURS, doc="CQEs posted"),
    Register("DOORBELL_ERRORS", 0x0A8, 32, "ro", _OURS, doc="doorbell writes refused"),
    Register("BUSY",          0x0B0, 16, "ro", _OURS, doc="commands in flight now"),
), size=0x100)
