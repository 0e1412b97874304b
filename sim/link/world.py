"""The compiled world, as Python sees it: functions of the simulator's own process, by ctypes."""

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int, c_int64, c_uint8, c_uint32, c_uint64
from enum import IntEnum

import numpy

__all__ = ["World", "Event", "Fault", "ANY", "NOBODY", "PURPOSES", "RECORD", "TlpError"]

ANY, NOBODY = 0xFFFF_FFFF, 0xFFFF

# What an address is for. The first are known to the link itself (ledger.hpp).
PURPOSES = {"unknown": 0, "config": 1, "mmio": 2, "ack": 3, "update_fc": 4, "msix": 5,
            "message": 6,
            "desc": 8, "avail": 9, "used": 10, "payload": 11, "sq": 12, "cq": 13, "prp": 14,
            "admin_sq": 15, "admin_cq": 16, "identify": 17}


class Event(IntEnum):
    """Kinds of events (events.hpp says what ``a``, ``b`` and ``c`` are)."""
    COMPLETION = 0
    INTERRUPT  = 1
    FRAME_OUT  = 2
    FRAME_IN   = 3
    EXCEPTION  = 4
    MANAGEMENT = 5
    WATCH      = 6
    DOORBELL   = 7
    VIOLATION  = 8
    FAULT      = 9
    TLP_UP     = 10
    TLP_DOWN   = 11
    DRAM       = 12
    TIMER      = 13
    QUIET      = 14
    MESSAGE    = 15


class Fault(IntEnum):
    """What reads of a trapped range meet: memory.hpp."""
    UR     = 1
    CA     = 2
    POISON = 3
    DROP   = 4
    DELAY  = 5


class TlpError(RuntimeError):
    """A request of the host was answered with a status other than success."""

    def __init__(self, status, what):
        super().__init__(f"{what} must be answered with success, not status {status}")
        self.status = status


RECORD = numpy.dtype([("time_ps", "<u8"), ("kind", "<u4"), ("a", "<u4"), ("b", "<u8"),
                      ("c", "<u8")])
ENTRY = numpy.dtype([("direction", "<u4"), ("requester", "<u4"), ("purpose", "<u4"),
                     ("fmt_type", "<u4"), ("packets", "<u8"), ("octets", "<u8"),
                     ("payload", "<u8")])

_FUNCTIONS = {
    "set": (c_int, c_char_p, c_double), "get": (c_double, c_char_p), "reset": (None,),
    "link": (None, c_int), "now_ps": (c_uint64,), "cycle": (c_uint64,),
    "memory_map": (c_uint64, c_uint64, c_uint64, c_uint32, c_uint32, c_char_p),
    "memory_map_file": (c_uint64, c_uint64, c_uint64, c_uint32, c_int, c_uint64),
    "memory_unmap": (None, c_uint32), "skip": (None, c_int64), "skipped_ps": (c_uint64,),
    "busy": (c_int,), "trace": (c_uint64,),
    "assign": (None, c_uint32, c_uint32), "tolerate": (None, c_uint32, c_int),
    "range": (None, c_uint64, c_uint64, c_uint32, c_uint32, c_int, c_int),
    "fault": (None, c_uint64, c_uint64, c_int, c_int64, c_int64, c_uint64),
    "dram_map": (c_uint64, c_uint64, c_char_p),
    "memory_read": (c_uint32, c_uint64, c_uint32),
    "memory_write": (None, c_uint64, c_char_p, c_uint32),
    "config": (c_uint32, c_int, c_int, c_uint32, c_uint32, c_uint32, c_uint32),
    "raw": (c_uint32, POINTER(c_uint32), c_char_p, c_uint32, c_int),
    "answer": (c_int, c_uint32, POINTER(c_uint8), c_uint32, POINTER(c_uint32)),
    "answer_header": (c_int, c_uint32, POINTER(c_uint32)),
    "wire_send": (None, c_char_p, c_uint32, c_int, c_uint64), "wire_waiting": (c_uint64,),
    "wire_count": (c_uint64,),
    "wire_frame": (c_uint32, c_uint64, POINTER(c_uint8), c_uint32, POINTER(c_uint64),
                   POINTER(c_int)),
    "management": (c_uint32, c_uint32, c_int, c_uint64, c_int),
    "management_reply": (c_int, c_uint32, POINTER(c_uint64)),
    "exceptions": (c_uint64,),
    "exception": (c_int, POINTER(c_uint8), c_uint32, POINTER(c_uint8), c_uint32,
                  POINTER(c_uint64)),
    "inject": (None, c_char_p, c_uint32, c_char_p, c_uint32),
    "masks": (None, c_uint32, c_uint32), "drain": (c_uint32, c_uint64, c_uint32),
    "wake_at": (None, c_uint32, c_uint64), "wake_at_time": (None, c_uint64),
    "count": (c_uint64, c_uint32), "log": (c_uint64, POINTER(c_uint64)), "log_clear": (None,),
    "violations": (c_uint64,), "violation": (c_char_p, c_uint64), "violations_clear": (None,),
    "report": (None, c_char_p), "capability": (None, c_uint32),
    "reads_in_flight": (c_uint64, c_uint32),
    "ledger": (c_uint32, c_uint64, c_uint32), "ledger_clear": (None,),
    "link_octets": (c_uint64, c_int),
}


class World:
    """One per simulator process. Addresses and lengths in octets, times in picoseconds.

    ``stirred`` is called whenever something is asked of the card, whose clock may be resting.
    """

    LONGEST = 1 << 16  # of a frame or an answer

    def __init__(self):
        library = ctypes.CDLL(None)
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(library, f"oc_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, f"_{name}", function)
        self._octets = (c_uint8 * self.LONGEST)()
        self._meta = (c_uint8 * 64)()
        self._records = numpy.zeros(4096, RECORD)
        self._named = dict(PURPOSES)
        self.stirred = lambda: None

    # --- settings and time ---

    def set(self, **settings):
        """Set compiled settings by name, at any time (settings.hpp lists them)."""
        for name, value in settings.items():
            if not self._set(name.encode(), float(value)):
                raise ValueError(f"`{name}` must be a setting of the compiled world")

    def get(self, name):
        """A compiled setting."""
        return self._get(name.encode())

    def reset(self):
        """Everything as after power-up, with the settings as they are; the link is down."""
        self._reset()

    def link(self, up):
        """Bring the link up or down (down and up again is a hot reset)."""
        self._link(up)
        self.stirred()

    @property
    def now_ps(self):
        """Time since the reset."""
        return self._now_ps()

    @property
    def cycle(self):
        """Clocks since the reset."""
        return self._cycle()

    def skip(self, time_ps):
        """Let time pass without clocks, only while nothing is under way; a negative share is
        that of the clock which comes next."""
        self._skip(time_ps)

    @property
    def skipped_ps(self):
        """Time that passed without clocks since the reset."""
        return self._skipped_ps()

    @property
    def busy(self):
        """Is anything under way on the link, the wire, the DRAM or in the mailboxes?"""
        return bool(self._busy())

    @property
    def trace(self):
        """A digest of every TLP since the reset, with its clock, header and payload."""
        return self._trace()

    # --- memory ---

    def map(self, base, size, *, guest=ANY, kind=0, path=None):
        """A region of host memory as a writable memoryview; no copies.

        ``kind`` 0 holds octets (in the file ``path`` if given), 1 takes interrupts, 2 is a device.
        """
        at = self._memory_map(base, size, guest, kind, str(path).encode() if path else None)
        if kind:
            return None
        if not at:
            raise MemoryError(f"`base` and `size` must be memory that the machine has and no other "
                              f"region, not {base:#x} and {size}")
        return memoryview((c_uint8 * size).from_address(at)).cast("B")

    def map_file(self, base, size, *, guest, file, offset=0):
        """The same for the open ``file`` of a virtual machine, from ``offset``.

        Each guest has an address space of its own.
        """
        at = self._memory_map_file(base, size, guest, file, offset)
        if not at:
            raise MemoryError(f"`base` and `size` must be memory of the file and no other region "
                              f"of guest {guest}, not {base:#x} and {size}")
        return memoryview((c_uint8 * size).from_address(at)).cast("B")

    def unmap(self, guest):
        """Take away all memory of a guest; its memoryviews must not be used any more."""
        self._memory_unmap(guest)

    def assign(self, requester, guest):
        """The function with this requester id belongs to ``guest`` from now on."""
        self._assign(requester, guest)

    def tolerate(self, requester, faults=True):
        """Refused accesses of this function are no violation: its guest is hostile."""
        self._tolerate(requester, faults)

    def purpose(self, name):
        """Number of a purpose; new names get new numbers."""
        return self._named.setdefault(name, max(self._named.values()) + 1)

    def range(self, base, size, purpose="unknown", *, requester=None, watch=-1, poisoned=False):
        """Say what octets are for: whose they are, whether a write is an event, or a trespass."""
        self._range(base, size, self.purpose(purpose), ANY if requester is None else requester,
                    watch, poisoned)

    def fault(self, base, size, kind, *, count=1, skip=0, delay_ns=0):
        """The next ``count`` reads (all: -1) of the range meet ``kind``, after ``skip`` do not.

        A ``count`` of 0 takes the faults of the range away.
        """
        if isinstance(kind, str):
            kind = Fault[kind.upper()]
        self._fault(base, size, kind, skip, count, int(delay_ns * 1000))

    def dram(self, size, path=None):
        """The card's DRAM as a writable memoryview; in the file ``path`` if given."""
        at = self._dram_map(size, str(path).encode() if path else None)
        if not at:
            raise MemoryError(f"`size` must be memory that the machine has, not {size} octets")
        return memoryview((c_uint8 * size).from_address(at)).cast("B")

    # --- requests of the host: a ticket, later its answer ---

    def memory_read(self, address, length):
        """Ask for octets of a BAR; returns the ticket."""
        self.stirred()
        return self._memory_read(address, length)

    def memory_write(self, address, octets):
        """Post a write to a BAR."""
        self._memory_write(address, bytes(octets), len(octets))
        self.stirred()

    def config(self, write, rid, offset, size, value=0, *, type1=False):
        """Ask for a configuration access; returns the ticket."""
        self.stirred()
        return self._config(write, type1, rid, offset, size, value)

    def raw(self, header, octets=b"", *, answered):
        """Send a TLP as it is (four double words); a ticket if it is to be answered."""
        self.stirred()
        return self._raw((c_uint32 * 4)(*header), bytes(octets), len(octets), answered)

    def answer(self, ticket):
        """``(status, octets)`` of a ticket, once; ``None`` while it is open."""
        count = c_uint32()
        status = self._answer(ticket, self._octets, self.LONGEST, ctypes.byref(count))
        return None if status < 0 else (status, bytes(self._octets[:count.value]))

    def answer_header(self, ticket):
        """Double words of the last completion of a ticket whose answer was not yet taken."""
        words = (c_uint32 * 4)()
        return None if self._answer_header(ticket, words) else tuple(words)

    # --- wire, mailboxes ---

    def wire_send(self, octets, *, error=False, not_before_ps=0):
        """Queue a frame (without FCS) for the card's MAC, at line rate."""
        self._wire_send(bytes(octets), len(octets), error, not_before_ps)
        self.stirred()

    def wire_waiting(self):
        """Frames that the card's MAC has not had yet."""
        return self._wire_waiting()

    def wire_frames(self, first=0):
        """``[(time_ps, octets, error)]`` that the card sent, from the ``first``."""
        return [self.wire_frame(n) for n in range(first, self._wire_count())]

    def wire_count(self):
        """Frames that the card has sent."""
        return self._wire_count()

    def wire_frame(self, index):
        """``(time_ps, octets, error)`` of a frame that the card sent."""
        time_ps, error = c_uint64(), c_int()
        count = self._wire_frame(index, self._octets, self.LONGEST, ctypes.byref(time_ps),
                                 ctypes.byref(error))
        return time_ps.value, ctypes.string_at(self._octets, count), bool(error.value)

    def management(self, address, write, data=0, *, follows=False):
        """Ask for a management access; returns the ticket. One that ``follows`` does not wait for
        the answer of the one before it, which must be to the same house."""
        self.stirred()
        return self._management(address, write, data, follows)

    def management_reply(self, ticket):
        """``(data, error)`` of a ticket, once; ``None`` while it is open."""
        value = c_uint64()
        error = self._management_reply(ticket, ctypes.byref(value))
        return None if error < 0 else (value.value, bool(error))

    def exception(self):
        """``(time_ps, meta, octets)`` of the oldest exception packet, or ``None``."""
        time_ps = c_uint64()
        count = self._exception(self._meta, 64, self._octets, self.LONGEST, ctypes.byref(time_ps))
        if count < 0:
            return None
        return time_ps.value, bytes(self._meta), ctypes.string_at(self._octets, count)

    def exceptions_waiting(self):
        """Exception packets that Python has not taken yet."""
        return self._exceptions()

    def inject(self, meta, octets):
        """Hand a packet with its raw ``meta`` to the card."""
        self._inject(bytes(meta), len(meta), bytes(octets), len(octets))
        self.stirred()

    # --- events ---

    def masks(self, *, log=(), wake=()):
        """Kinds of events that are logged, and those that wake Python each time."""
        self._masks(sum(1 << kind for kind in set(log)), sum(1 << kind for kind in set(wake)))

    def drain(self):
        """The events that woke Python, as an array of ``RECORD``."""
        parts = []
        while True:
            count = self._drain(self._records.ctypes.data, len(self._records))
            parts.append(self._records[:count].copy())
            if count < len(self._records):
                return parts[0] if len(parts) == 1 else numpy.concatenate(parts)

    def wake_at(self, kind, count):
        """Wake once ``kind`` has happened ``count`` times since the reset."""
        self._wake_at(kind, count)

    def count(self, kind):
        """How often ``kind`` has happened since the reset."""
        return self._count(kind)

    def log(self, kind=None):
        """The logged events, of one kind or all, as an array of ``RECORD`` (a copy)."""
        count = c_uint64()
        at = self._log(ctypes.byref(count))
        if not count.value:
            return numpy.zeros(0, RECORD)
        octets = (c_uint8 * (count.value * RECORD.itemsize)).from_address(at)
        records = numpy.frombuffer(octets, RECORD).copy()
        return records if kind is None else records[records["kind"] == kind]

    def log_clear(self):
        """Forget what was logged."""
        self._log_clear()

    # --- verdicts ---

    def violations(self):
        """What the monitors found, one line each."""
        return [self._violation(n).decode() for n in range(self._violations())]

    def violations_clear(self):
        """Forget them: the test provoked them."""
        self._violations_clear()

    def ledger(self):
        """Every octet on the link: an array with names of purposes in ``purpose_names``."""
        entries = numpy.zeros(self._ledger(0, 0), ENTRY)
        self._ledger(entries.ctypes.data, len(entries))
        return numpy.sort(entries, order=("direction", "requester", "purpose", "fmt_type"))

    @property
    def purpose_names(self):
        """Number of a purpose to its name."""
        return {number: name for name, number in self._named.items()}

    def link_octets(self):
        """Octets that each direction's lane carried: (up, down). The ledger's witness."""
        return self._link_octets(0), self._link_octets(1)

    def ledger_clear(self):
        """Begin a new account."""
        self._ledger_clear()

    def reads_in_flight(self, requester=ANY):
        """The card's reads that are not answered yet."""
        return self._reads_in_flight(requester)

    def capability(self, offset):
        """Where the PCI Express capability stands in every function, for the monitor."""
        self._capability(offset)
