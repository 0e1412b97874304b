"""The host's side of a sustained run: queues served as NAPI does, by polls and interrupts."""

__all__ = ["NetTransmit", "NetReceive", "DriveService", "serve"]

IDLE_POLLS = 2  # empty looks after which a queue waits for its interrupt again


class _Service:
    """One queue, polled while there is work, else woken by its message; ``quota`` ends offers."""

    def __init__(self, bus, ring, message, quota, rate=None):
        self.bus, self.ring, self.message, self.quota = bus, ring, message, quota
        self.rate, self.began = rate, None  # operations a microsecond offered; None: all
        self.idle, self.armed, self.seen = 0, False, 0
        self.doorbells = 0

    def interrupts(self, on):
        """Ask the card for messages; a drive's cannot be held back."""

    def ring_bell(self):
        raise TypeError("a service must ring its own doorbell")

    def work(self):
        """Take and offer; how many were taken."""
        taken = len(self.ring.take())
        self.offer()
        return taken

    def offer(self):
        """Offer what quota and rate allow, and ring once."""
        left = None if self.quota is None else self.quota - self.ring.offered
        if self.rate is not None:
            now = self.bus.now_ns()
            self.began = now if self.began is None else self.began
            due = int((now - self.began) * self.rate / 1000) - self.ring.offered
            left = max(0, due if left is None else min(left, due))
        if self.ring.offer(left):
            self.ring_bell()
            self.doorbells += 1

    def step(self):
        """One look of the host."""
        if self.armed and self.bus.messages_seen(self.message) == self.seen:
            if self.rate is not None:
                self.offer()  # the application sends; nobody needs to be woken for that
            return
        if self.armed:
            self.armed, self.idle = False, 0
            self.interrupts(False)
        if self.work():
            self.idle = 0
            return
        self.idle += 1
        if self.idle >= IDLE_POLLS and self.message is not None:
            self.seen = self.bus.messages_seen(self.message)
            self.interrupts(True)
            # What came before the card saw the flag brings no message: look once more.
            self.armed = not self.work()


class _Net(_Service):
    def __init__(self, driver, ring, index, quota, rate=None):
        message = driver.messages[1 + index] if driver.messages else None
        super().__init__(driver.bus, ring, message, quota, rate)
        self.driver, self.world = driver, driver.bus.env.world
        self.address, self.number = driver.device.notify_at[index], index.to_bytes(2, "little")
        self.interrupts(False)

    def interrupts(self, on):
        self.ring.interrupts(on)

    def ring_bell(self):
        self.world.memory_write(self.address, self.number)


class NetTransmit(_Net):
    """Sends as long as the quota lasts."""

    def __init__(self, driver, ring, quota, rate=None):
        super().__init__(driver, ring, 1, quota, rate)


class NetReceive(_Net):
    """Gives every buffer back at once."""

    def __init__(self, driver, ring):
        super().__init__(driver, ring, 0, None)


class DriveService(_Service):
    """Commands of a queue pair, submitted again as they end."""

    def __init__(self, driver, ring, quota, rate=None):
        pair = ring.pair
        message = None if pair.vector is None else driver.messages[pair.vector]
        super().__init__(driver.bus, ring, message, quota, rate)
        stride = 4 << (driver.cap >> 32 & 0xF)
        self.world = driver.bus.env.world
        self.address = driver.base + 0x1000 + 2 * pair.number * stride
        self.stride = stride

    def ring_bell(self):
        self.world.memory_write(self.address, self.ring.tail.to_bytes(4, "little"))

    def work(self):
        taken = super().work()
        if taken:
            self.world.memory_write(self.address + self.stride,
                                    self.ring.head.to_bytes(4, "little"))
        return taken


async def serve(env, services, ended, *, poll_ns, stall_ns=200_000):
    """Look at every queue each ``poll_ns`` until ``ended()``.

    ``TimeoutError`` when no queue has moved for ``stall_ns``.
    """
    moved, count = env.now_ns, None
    while not ended():
        for service in services:
            service.step()
        now, seen = env.now_ns, sum(service.ring.taken + service.ring.offered
                                    for service in services)
        if seen != count:
            moved, count = now, seen
        if stall_ns is not None and now - moved >= stall_ns:
            stuck = [f"{service.ring.offered} offered, {service.ring.taken} taken, "
                     f"{int(service.ring.waiting)} waiting" for service in services]
            raise TimeoutError(f"a queue must move within {stall_ns} ns: {'; '.join(stuck[:8])}")
        await env.bus.sleep(poll_ns)
