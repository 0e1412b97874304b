"""The one time line: the simulator's, as the guests' calendar and the card's processor use it."""

from cocotb.triggers import Event as Flag
from cocotb.triggers import SimTimeoutError, Timer, with_timeout
from cocotb.utils import get_sim_time

from sim.card_port import SimulatedPort

__all__ = ["PatientCardPort", "Timeline"]

_LONGEST_NS = 1_000_000_000  # of one wait, so that a world in which nothing will happen is seen


class Timeline:
    """Nanoseconds since :meth:`begin`, and letting them pass.

    Parameters
    ----------
    env : sim.env.Env
    busy : callable
        Is anything outside the card under way, as a packet at the card's processor?
    """

    def __init__(self, env, busy=lambda: False):
        self.env, self.busy, self.origin_ps = env, busy, 0
        self._flag = Flag()

    def begin(self):
        """The guests' time starts here."""
        self.origin_ps = round(get_sim_time("ps"))

    @property
    def now_ns(self):
        """Whole nanoseconds."""
        return (round(get_sim_time("ps")) - self.origin_ps) // 1000

    @property
    def idle(self):
        """Will nothing happen that no guest asks for?"""
        rest = self.env.rest
        return rest is not None and rest.resting and not self.busy()

    def wake(self):
        """Somebody may have something to tell: :meth:`advance` looks."""
        self._flag.set()

    async def sleep(self, ns):
        """Let ``ns`` pass."""
        if ns > 0:
            await Timer(round(ns * 1000), "ps")

    async def settle(self, most_ns):
        """Let the card do all that it has to do, but not longer than ``most_ns``."""
        rest = self.env.rest
        if rest is None:
            await self.sleep(most_ns)
        else:
            await self.env.wait_until(lambda: rest.resting, most_ns)

    async def advance(self, until_ns, stop):
        """Let the simulation run until then, or until ``stop()`` says so at a wake."""
        while not stop():
            left = until_ns * 1000 - (round(get_sim_time("ps")) - self.origin_ps)
            if left <= 0:
                return
            self._flag.clear()
            try:
                await with_timeout(self._flag.wait(), min(left, _LONGEST_NS * 1000), "ps")
            except SimTimeoutError:
                continue


class PatientCardPort(SimulatedPort):
    """The card's processor looks around less often while the card rests.

    It looks for events of the flow table now and then; each look is an access that would wake the
    card. Nothing can have happened while the card rested, so it waits for the card to wake first.
    """

    idle_ns = 50_000  # waits as long as this, or longer, are for looking around

    async def receive(self, timeout_ns=None):
        rest = self.env.rest
        wait = 1_000_000 if timeout_ns is None else timeout_ns
        while True:
            found = await self.env.wait_exception(wait)
            if found is not None or rest is None or not rest.resting or wait < self.idle_ns:
                return found and found[1]
            await rest.woken.wait()
