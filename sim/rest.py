"""The card's clock rests while nothing happens, and simulated time goes on without it.

A guest that sleeps for a second would cost 250 million clocks of a card that does nothing. When
the compiled world says that nothing is under way, the clock stops; whoever asks something of the
card starts it again, on the grid of its old edges. What the card counts in clocks (moderation,
token buckets, ages) does not see the time between: docs/fidelity.md says what follows.
"""

import cocotb
from cocotb.triggers import Event, Timer
from cocotb.utils import get_sim_time

__all__ = ["Rest"]


class Rest:
    """Stops and starts one clock.

    Parameters
    ----------
    world : sim.link.world.World
        Its time is made to follow; its ``stirred`` is ours.
    signal
        The clock, as cocotb sees it.
    clock : cocotb.clock.Clock
        Its driver, running.
    period_ps : int

    Attributes
    ----------
    resting : bool
    woken : cocotb.triggers.Event
        Set while the clock runs.
    count : int
        How often the clock has rested.
    """

    def __init__(self, world, signal, clock, period_ps):
        self.world, self.signal, self.clock, self.period_ps = world, signal, clock, period_ps
        self.resting, self.count, self.woken = False, 0, Event()
        self.woken.set()
        self._stopped_ps = self._caught_up_ps = 0
        world.stirred = self._stirred

    def begin(self):
        """The world is quiet: stop, unless somebody has asked for something in the meantime."""
        if self.resting or self.world.busy:
            return
        self.clock.stop()
        self.signal.value = 0
        self.resting, self.count = True, self.count + 1
        self.woken.clear()
        self._stopped_ps = self._caught_up_ps = round(get_sim_time("ps"))

    def catch_up(self):
        """The world's time becomes the simulator's."""
        if self.resting:
            now = round(get_sim_time("ps"))
            self.world.skip(now - self._caught_up_ps)
            self._caught_up_ps = now

    def _stirred(self):
        if self.resting:
            self.catch_up()
            self.resting = False
            self.woken.set()
            cocotb.start_soon(self._start())

    async def _start(self):
        """The next edge comes on the old grid, at least one period after the last."""
        passed = round(get_sim_time("ps")) - self._stopped_ps
        wait = -passed % self.period_ps or (0 if passed else self.period_ps)
        if wait:
            await Timer(wait, "ps")
        # The first edge counts one period itself.
        self.world.skip(wait - self.period_ps)
        self.clock.start()
