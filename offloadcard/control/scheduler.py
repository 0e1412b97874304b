"""Which exception a core of the processor serves next: fair among functions, in order in a slot."""

import heapq
from collections import deque

__all__ = ["Scheduler"]


class Scheduler:
    """Packets wait in their order slot; slots wait with the function whose packet is their first;
    functions take turns. A slot has one packet in service at a time, so that its order is kept.

    So whoever floods the slow path waits behind himself: another's packet is served after at most
    one packet of each other function.

    ``cores`` serve a packet for ``service_ns`` each; one that waited behind another of its flow, or
    whose flow ``is_known`` when a core begins with it, is only looked up, for ``known_ns``.
    """

    def __init__(self, *, cores, service_ns, known_ns=None, is_known=lambda flow: False):
        if cores < 1:
            raise ValueError(f"`cores` must be at least 1, not {cores!r}")
        self.service_ns = service_ns
        self.known_ns   = service_ns if known_ns is None else known_ns
        self._is_known  = is_known
        self._free_at   = [0] * cores  # heap: when each idle core became idle
        self._slots     = {}           # slot -> deque of (arrival, function, flow, packet)
        self._turns     = deque()      # functions that have a slot waiting, in turn
        self._waiting   = {}           # function -> deque of slots
        self._decided   = {}           # slot -> the flow that was served last, while others wait
        self._serving   = []           # heap of (done, number, slot, packet)
        self._inside    = {}           # flow -> its packets inside
        self._number    = 0
        self.busy_ns    = 0            # of all cores together, since the beginning

    def __len__(self):
        """Packets inside, waiting or in service."""
        return sum(len(queue) for queue in self._slots.values())

    def waits(self, flow):
        """Is a packet of ``flow`` inside?"""
        return flow in self._inside

    def admit(self, packet, *, slot, function, now, flow=None):
        """A packet of ``function`` came; ``flow`` is anything that names its flow."""
        self._inside[flow] = self._inside.get(flow, 0) + 1
        queue = self._slots.setdefault(slot, deque())
        queue.append((now, function, flow, packet))
        if len(queue) == 1:
            self._wait(slot)
        self._start()

    def _wait(self, slot):
        """The slot's first packet waits for its function's turn."""
        function = self._slots[slot][0][1]
        if function not in self._waiting:
            self._waiting[function] = deque()
            self._turns.append(function)
        self._waiting[function].append(slot)

    def _start(self):
        """Give waiting packets to idle cores."""
        while self._free_at and self._turns:
            function = self._turns.popleft()
            slots = self._waiting[function]
            slot = slots.popleft()
            if slots:
                self._turns.append(function)
            else:
                del self._waiting[function]
            arrival, _, flow, packet = self._slots[slot][0]
            known = flow is not None and (self._decided.get(slot) == flow or self._is_known(flow))
            service = self.known_ns if known else self.service_ns
            done = max(heapq.heappop(self._free_at), arrival) + service
            self.busy_ns += service
            self._number += 1
            heapq.heappush(self._serving, (done, self._number, slot, packet))

    def next_done(self):
        """When the next packet is done, or ``None``."""
        return self._serving[0][0] if self._serving else None

    def take(self, now):
        """The packet that is done by ``now``, or ``None``; finish it, then call again."""
        if not self._serving or self._serving[0][0] > now:
            return None
        done, _, slot, packet = heapq.heappop(self._serving)
        heapq.heappush(self._free_at, done)
        queue = self._slots[slot]
        _, _, flow, _ = queue.popleft()
        self._inside[flow] -= 1
        if not self._inside[flow]:
            del self._inside[flow]
        if queue:
            # The next of the slot could not begin before this one ended.
            queue[0] = max(queue[0][0], done), *queue[0][1:]
            self._decided[slot] = flow
            self._wait(slot)
        else:
            del self._slots[slot]
            self._decided.pop(slot, None)
        self._start()
        return packet
