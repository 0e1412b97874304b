"""Several tasks in one testbench of Amaranth's simulator, sharing objects that wait for the clock.

A testbench's context belongs to that testbench alone; software whose tasks share drivers needs one
that is everybody's. :func:`run_tasks` steps all tasks between two edges of the clock.
"""

__all__ = ["SharedContext", "run_tasks"]


class _Tick:
    """One edge that a task waits for, and what it wants sampled there."""

    def __init__(self, signals=()):
        self.signals = signals

    def sample(self, *signals):
        """Sample ``signals`` at the edge."""
        return _Tick((*self.signals, *signals))

    def __await__(self):
        return (yield self)

    async def repeat(self, count):
        """Wait for ``count`` edges."""
        for _ in range(count):
            await self


class SharedContext:
    """Like a testbench's context, for tasks of :func:`run_tasks`."""

    def __init__(self):
        self._ctx = None

    def set(self, signal, value):
        """Drive ``signal``."""
        self._ctx.set(signal, value)

    def get(self, signal):
        """Value of ``signal`` now."""
        return self._ctx.get(signal)

    def tick(self):
        """The next edge."""
        return _Tick()


async def run_tasks(ctx, shared, main, *others, on_edge=lambda: None):
    """Run coroutines until ``main`` returns; the ``others`` are then closed."""
    shared._ctx = ctx
    results = {task: None for task in (main, *others)}
    try:
        while True:
            ticks = {}
            for task in list(results):
                try:
                    ticks[task] = task.send(results[task])
                except StopIteration:
                    if task is main:
                        return
                    del results[task]
            wanted = [signal for tick in ticks.values() for signal in tick.signals]
            clock, reset, *values = await ctx.tick().sample(*wanted)
            on_edge()
            for task, tick in ticks.items():
                count = len(tick.signals)
                results[task] = (clock, reset, *values[:count])
                values = values[count:]
    finally:
        for task in others:
            task.close()
