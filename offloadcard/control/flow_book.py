"""What the control plane remembers of flows and connections: bounded for every function."""

from collections import OrderedDict
from dataclasses import dataclass

from .flow import Decision, Flow

__all__ = ["FlowRecord", "FlowBook", "Connections"]


@dataclass
class FlowRecord:
    """A flow in the table of the card."""
    handle:     int
    key:        bytes
    flow:       Flow
    decision:   Decision
    owner:      int
    generation: int
    payer:      int | None = None  # whose quota it counts against; the owner's unless told
    pair:       object = None      # the record of the other direction, if they came together
    closing:    bool = False
    number:     int = 0            # of the command that inserted it
    open:       bool = False       # its first packet has not gone back yet

    def __post_init__(self):
        self.payer = self.owner if self.payer is None else self.payer


class FlowBook:
    """Rows of the flow table, and whose they are.

    ``rows`` rows in all, at most ``quota`` of one function, or what ``quotas`` says for it. One
    that is over its quota gives up its own eldest flow, which ``exceeded`` counts; where no row is
    free, whoever has most does, so that a function with few flows is never without a row, and a
    storm costs its own sender.
    """

    def __init__(self, *, rows, quota):
        if not 0 < quota <= rows:
            raise ValueError(f"`quota` must be 1 to {rows}, not {quota!r}")
        self.rows      = rows
        self.quota     = quota
        self.quotas    = {}  # payer -> its own quota
        self.exceeded  = {}  # payer -> rows given up for want of quota
        self.by_handle = {}
        self.by_key    = {}
        self._of_owner = {}
        self._of_payer = {}
        self._free     = list(range(rows - 1, -1, -1))

    def __len__(self):
        return len(self.by_handle)

    def of_owner(self, owner):
        """Records of an owner's generation, eldest first."""
        return list(self._of_owner.get(owner, {}).values())

    def of_payer(self, payer):
        """Records that count against the quota of ``payer``, eldest first."""
        return list(self._of_payer.get(payer, {}).values())

    def touching(self, function_id):
        """Records whose decision asked the policy of ``function_id``."""
        return [record for record in self.by_handle.values()
                if function_id in record.decision.owners or record.owner == function_id]

    def quota_of(self, payer):
        """Rows that ``payer`` may have."""
        return self.quotas.get(payer, self.quota)

    def count(self, payer):
        """Rows that ``payer`` has."""
        return len(self._of_payer.get(payer, ()))

    def victim(self, payer):
        """The record that must go before ``payer`` gets another row, or ``None``."""
        own, quota = self._of_payer.get(payer, {}), self.quota_of(payer)
        if len(own) < quota and self._free:
            return None
        loser = own
        if len(own) >= quota:
            self.exceeded[payer] = self.exceeded.get(payer, 0) + 1
        else:
            richest = max(self._of_payer.values(), key=len, default={})
            # Among equals nobody takes from another.
            loser = richest if len(richest) > len(own) + 1 else own
        return next(iter(loser.values()), None)

    def take(self):
        """A free row, or ``None``."""
        return self._free.pop() if self._free else None

    def give_back(self, handle):
        """A row that was taken and not used, or whose flow the card has deleted."""
        self._free.append(handle)

    def add(self, record):
        """Remember a record whose row was taken."""
        self.by_handle[record.handle] = record
        self.by_key[record.key] = record
        self._of_owner.setdefault(record.owner, OrderedDict())[record.handle] = record
        self._of_payer.setdefault(record.payer, OrderedDict())[record.handle] = record

    def remove(self, record):
        """Forget a record; its row is free after :meth:`give_back`."""
        del self.by_handle[record.handle]
        del self.by_key[record.key]
        del self._of_owner[record.owner][record.handle]
        del self._of_payer[record.payer][record.handle]


class Connections:
    """Keys of replies that may pass, by function; the eldest is forgotten first."""

    def __init__(self, *, limit=4096):
        self.limit = limit
        self._keys = {}

    def remember(self, function_id, key):
        """Let ``key`` pass for ``function_id`` from now on."""
        keys = self._keys.setdefault(function_id, OrderedDict())
        keys[key] = True
        keys.move_to_end(key)
        if len(keys) > self.limit:
            keys.popitem(last=False)

    def __call__(self, flow):
        """Was the other direction of ``flow`` let through?"""
        return flow.key() in self._keys.get(flow.function_id, ())

    def forget(self, function_id):
        """Every reply must be allowed by a rule again."""
        self._keys.pop(function_id, None)
