"""What the flow table and its slow path say to each other: exception and injection descriptors,
commands, reasons, and the management map; and, from ``spec_flow``, flows.

Structures are little-endian in memory and on the management port.
"""

from amaranth.lib import data, enum

from ..rtl.octets import size_of
from ..rtl.regmap import Register, RegisterMap
from .spec_flow import (
    DestinationKind,
    Direction,
    FlowEntry,
    Key,
    L3Type,
    TcpFlag,
    Template,
    VlanOperation,
    checksum,
    checksum_delta,
)

__all__ = [
    "ETHERTYPE_IPV4", "ETHERTYPE_IPV6", "ETHERTYPE_VLAN", "ETHERTYPE_QINQ", "ETHERTYPE_ARP",
    "PROTOCOL_ICMP", "PROTOCOL_TCP", "PROTOCOL_UDP", "PROTOCOL_ICMPV6", "VXLAN_PORT",
    "HEADER_WINDOW", "ENCAPSULATION", "DESCRIPTOR_OCTETS", "L3Type", "Direction", "Key", "TcpFlag",
    "DestinationKind", "VlanOperation", "FlowEntry", "Template", "Reason", "Verdict",
    "ExceptionDescriptor", "InjectDescriptor", "Opcode", "Status", "Command", "Completion",
    "EventKind", "Event", "GenerationWrite", "MANAGEMENT", "LAYER_SETS", "TEMPLATES",
    "MeterRate", "MeterKind", "MeterWrite", "Allowance", "AllowanceIndex", "Control", "checksum",
    "checksum_delta",
]

ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP = 0x0800, 0x86DD, 0x0806
ETHERTYPE_VLAN, ETHERTYPE_QINQ = 0x8100, 0x88A8
PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMPV6 = 1, 6, 17, 58
VXLAN_PORT = 4789  # Ref: rfc-7348, 5

HEADER_WINDOW     = 128  # octets from the frame's start that the parser sees
ENCAPSULATION     = 50   # octets that a VXLAN push adds: Ethernet, IPv4, UDP, VXLAN
DESCRIPTOR_OCTETS = 64   # before each frame on `exceptions` and `inject`
LAYER_SETS        = 4    # generations of a function
TEMPLATES         = 64   # outer headers


class Reason(enum.IntEnum):
    """Why a packet left the fast path. Each has a counter per direction."""
    NONE             = 0   # forwarded by its flow
    MISS             = 1   # exception
    ORDER            = 2   # exception: earlier packets of its order slot are at the slow path
    GENERATION       = 3   # exception: hard generation
    TCP_FLAGS        = 4   # exception: as the entry asks
    ENTRY            = 5   # exception: the entry's destination says so
    FRAGMENT         = 6   # exception
    HEADERS_TOO_LONG = 7   # exception: beyond the parser's window
    TTL              = 8   # exception: TTL or hop limit would become 0
    EXTENSION        = 9   # exception: IPv6 extension headers
    NOT_EDITABLE     = 10  # exception: NAT asked of what is not IPv4 TCP, UDP or ICMP
    # From here on the packet is dropped.
    FLOW_DROP        = 16
    METER            = 17  # the sender's allowance, or that of the flow's own meter
    NO_ROOM          = 18  # tail drop: packet buffer full (wire only)
    EXCEPTION_FULL   = 19  # exception queue full
    EXCEPTION_LIMIT  = 20  # the function has as many exceptions open as it may, or the slot has
    TRUNCATED        = 21  # shorter than its headers say
    OVERSIZED        = 22  # longer than the card's frames, before or after the push
    BAD_CHECKSUM     = 23  # IPv4 header
    BAD_HEADER       = 24  # version, IHL, lengths
    BAD_VXLAN        = 25  # I flag clear, or UDP length wrong
    DAMAGED          = 26  # `error` on the last beat
    VERDICT          = 27  # the slow path said drop
    BAD_DESTINATION  = 28  # an injection to nowhere
    DISABLED         = 29  # the card's processor has not enabled the direction
    NEW_FLOWS        = 30  # the function's allowance of exceptions a second
    METER_IN         = 31  # the receiver's allowance


class Verdict(enum.IntEnum):
    """What shall become of an injected packet."""
    LOOKUP  = 0  # through the table, as if it entered now; never held back for order
    DROP    = 1  # ends here; closes its order slot
    FORWARD = 2  # unchanged to `destination`, `destination_function`


class ExceptionDescriptor(data.Struct):
    """64 octets before each frame on ``exceptions``; ``meta.length`` counts them too.

    ``order_slot`` and ``counted`` go back in the :class:`InjectDescriptor`: every packet that was
    counted must come back exactly once, in order, if only to be dropped.
    """
    key:         Key
    length:      16  # of the frame
    function_id: 12  # the sender; 0 from the wire
    direction:   1
    hit:         1   # `handle` is its flow
    counted:     1
    _rsvd31:     1
    handle:      24
    reason:      8
    order_slot:  16
    tcp_flags:   8
    l3_offset:   8   # of the headers in the key
    _rsvd96:     32


class InjectDescriptor(data.Struct):
    """64 octets before each frame on ``inject``. What comes back keeps its ``order_slot``.

    ``function_id`` is the source as the key shall say it, and the row of the exception limit.
    """
    verdict:              2  # Verdict
    direction:            1  # lane in which it runs, and the key's direction
    counted:              1
    destination:          2  # DestinationKind; for FORWARD
    _rsvd6:               2
    order_slot:           16
    function_id:          12
    destination_function: 12
    length:               16  # of the frame
    _rsvd64:              448


class Opcode(enum.IntEnum):
    """Commands of the engine."""
    NOP    = 0
    INSERT = 1  # KEY and ENTRY into row `handle`, which must be free; clears its counters
    DELETE = 2  # row `handle`
    UPDATE = 3  # ENTRY into row `handle`; the key stays
    SCAN   = 4  # from row `handle`: the first flow not seen since `epoch`
    EXPIRE = 5  # as SCAN, and deletes it


class Status(enum.IntEnum):
    """Completion status."""
    OK          = 0
    EXISTS      = 1  # `handle` tells the row that has this key
    FULL        = 2  # no bucket, no stash: control keeps the flow in software
    NOT_FOUND   = 3  # the row is free; SCAN, EXPIRE: no idle flow up to the end
    BUSY_ROW    = 4  # INSERT into a row that is taken
    OUT_OF_RANGE = 5
    COLLISION   = 6  # another key has the same hashes: choose another seed, or software
    BAD_OPCODE  = 7


class Command(data.Struct):
    """Write of ``COMMAND``: takes KEY and ENTRY along, into the command ring."""
    opcode: 8
    tag:    16
    handle: 24
    epoch:  16


class Completion(data.Struct):
    """Head of the completion ring; write ``COMPLETION_POP`` to take it."""
    valid:  1
    _rsvd1: 7
    status: 8
    tag:    16
    handle: 24
    _rsvd56: 8


class EventKind(enum.IntEnum):
    """Events: the packet itself went on."""
    TCP_FLAGS  = 0
    GENERATION = 1  # soft: forwarded by the old action; re-evaluate


class Event(data.Struct):
    """Head of the event ring; write ``EVENT_POP`` to take it. Full: ``EVENTS_LOST`` counts."""
    valid:     1
    kind:      2
    _rsvd3:    5
    tcp_flags: 8
    handle:    24
    _rsvd40:   24


class GenerationWrite(data.Struct):
    """Generations of (function, layer set): an entry equal to ``current`` is fresh; one not older
    than ``hard`` is soft: it forwards and raises an event; older ones go to the slow path."""
    current:     16
    hard:        16
    function_id: 12
    _rsvd44:     4
    layer_set:   2
    _rsvd50:     14


assert size_of(ExceptionDescriptor) == size_of(InjectDescriptor) == DESCRIPTOR_OCTETS
assert all(size_of(s) == 8 for s in (Command, Completion, Event, GenerationWrite))


class MeterRate(data.Struct):
    """One limit of a meter: cycles in 16.16 for each octet (or packet), and the burst in cycles.

    A bucket of B octets at C cycles an octet has ``burst`` = B * C. Both 0: no limit.
    """
    cycles: 32  # 16.16
    burst:  32  # cycles


class MeterKind(enum.IntEnum):
    """What is limited: each kind has limits of octets and of packets for every function."""
    OUT       = 0  # what a function sends, by its flows
    IN        = 1  # what a function is to receive, by flows, of guests or from the wire
    NEW_FLOWS = 2  # what is sent to the slow path, but for packets that follow others there


class MeterWrite(data.Struct):
    """Write of ``METER``: the staged limits become those of a row. ``wire``: the row of all that
    enters by the wire; of ``NEW_FLOWS`` only."""
    function_id: 12
    wire:        1
    _rsvd13:     3
    kind:        2  # MeterKind
    _rsvd18:     14


class Allowance(enum.IntEnum):
    """What a function had too little of, for a packet that was dropped therefore."""
    OUT_OCTETS  = 0
    OUT_PACKETS = 1
    IN_OCTETS   = 2
    IN_PACKETS  = 3
    NEW_FLOWS   = 4
    EXCEPTIONS  = 5  # open at a time: of the function, or of the flow's order slot
    ROOM        = 6  # in the exception queue


class AllowanceIndex(data.Struct):
    """Which counter ``EXCEEDED_PACKETS`` shows."""
    function_id: 12
    wire:        1
    _rsvd13:     3
    allowance:   3  # Allowance
    _rsvd19:     13


assert size_of(MeterWrite) == size_of(AllowanceIndex) == 4


class Control(data.Struct):
    """Which directions look up at all; others are dropped as ``Reason.DISABLED``."""
    guest_enable: 1
    wire_enable:  1


MANAGEMENT = RegisterMap("gft", (
    Register("FLOWS",            0x000, 32, "ro", "ours", doc="rows of the flow table"),
    Register("ORDER_SLOTS",      0x004, 32, "ro", "ours", doc="order slots"),
    Register("CONTROL",          0x008, Control, "rw", "ours"),
    Register("STATUS",           0x010, 64, "ro", "ours",
             doc="bit 0: ready (tables cleared, hash keyed); 15:8 free places of the command ring; "
                 "23:16 completions that wait; 31:24 events that wait"),
    Register("SEED",             0x018, 64, "rw", "ours",
             doc="keys the hashes (64 random bits); write while no flow is there; wait for ready"),
    Register("EPOCH",            0x020, 16, "rw", "ours", doc="stamped as last seen"),
    Register("EXCEPTION_LIMIT",  0x028, 16, "rw", "ours", reset=64,
             doc="exceptions that a function may have open"),
    Register("TIME",             0x030, 64, "ro", "ours", doc="cycles since reset"),
    *(Register(f"KEY{n}", 0x040 + 8 * n, 64, "rw", "ours") for n in range(6)),
    *(Register(f"ENTRY{n}", 0x080 + 8 * n, 64, "rw", "ours") for n in range(8)),
    Register("COMMAND",          0x0C0, Command, "wo", "ours", doc="into the command ring"),
    Register("COMPLETION",       0x0C8, Completion, "ro", "ours"),
    Register("COMPLETION_POP",   0x0D0, 1, "wo", "ours"),
    Register("EVENT",            0x0D8, Event, "ro", "ours"),
    Register("EVENT_POP",        0x0E0, 1, "wo", "ours"),
    Register("EVENTS_LOST",      0x0E8, 64, "ro", "ours"),
    Register("GENERATION",       0x0F0, GenerationWrite, "wo", "ours"),
    Register("METER_OCTETS",     0x100, MeterRate, "rw", "ours", doc="staged for METER"),
    Register("METER_PACKETS",    0x108, MeterRate, "rw", "ours", doc="staged for METER"),
    Register("METER",            0x110, MeterWrite, "wo", "ours",
             doc="row: writes both limits"),
    *(Register(f"TEMPLATE{n}", 0x120 + 8 * n, 64, "rw", "ours", doc="staged for TEMPLATE")
      for n in range(4)),
    Register("TEMPLATE",         0x140, 8, "wo", "ours", doc="row: writes the staged template"),
    Register("FLOW",             0x150, 24, "rw", "ours", doc="row shown by FLOW_*"),
    Register("FLOW_PACKETS",     0x158, 64, "ro", "ours"),
    Register("FLOW_OCTETS",      0x160, 64, "ro", "ours", doc="as they entered"),
    Register("FLOW_SEEN",        0x168, 16, "ro", "ours", doc="epoch of the last packet"),
    Register("REASON",           0x170, 6, "rw", "ours",
             doc="counter shown: Reason, plus 32 for the wire's direction"),
    Register("REASON_PACKETS",   0x178, 64, "ro", "ours"),
    Register("EXCEEDED",         0x180, AllowanceIndex, "rw", "ours",
             doc="counter shown by EXCEEDED_PACKETS"),
    Register("EXCEEDED_PACKETS", 0x188, 64, "ro", "ours",
             doc="dropped for want of that allowance"),
    Register("ORDER_BUDGET",     0x190, 16, "ro", "ours",
             doc="packets of one order slot that go to the slow path until it is empty"),
), size=0x200)
