"""What a script asks of the provider while its guests run: ``order link net0 down``.

A guest leaves a file in the folder that it shares with us (`order` in ``job.sh``), we do what it
says through the card's management port, and tell it so. Guests stand still meanwhile.
"""

from pathlib import Path

__all__ = ["OrderError", "Orders"]


class OrderError(ValueError):
    """The order is none that we know; one line."""


class Orders:
    """Orders of the guests of one run.

    Parameters
    ----------
    folder : Path or None
        That the guests share with us; without it nothing can be ordered.
    timeline : sim.linux.timeline.Timeline
    controller : offloadcard.control.controller.Controller
    functions : dict
        Name -> function_id, of network functions.

    Attributes
    ----------
    count : int
        Orders that were carried out.
    """

    def __init__(self, folder, timeline, controller, functions):
        self.folder, self.timeline = None if folder is None else Path(folder), timeline
        self.controller, self.functions, self.count = controller, functions, 0

    async def carry_out(self, earliest_ns):
        """Do what is asked for, if anything is, but not before this time."""
        if self.folder is None:
            return
        path = self.folder / "order"
        if not path.exists():
            return
        words = path.read_text().split()
        path.unlink()
        await self.timeline.advance(earliest_ns, lambda: False)
        try:
            await self._do(words)
            said = "done"
        except OrderError as error:
            said = str(error)
        self.count += 1
        fresh = self.folder / "told.carried.new"
        fresh.write_text(said + "\n")
        fresh.replace(self.folder / "told.carried")

    async def _do(self, words):
        match words:
            case ["link", name, ("up" | "down") as state]:
                if name not in self.functions:
                    raise OrderError(f"the function must be one of {', '.join(self.functions)}, "
                                     f"not {name!r}")
                await self.controller.set_link(self.functions[name], state == "up")
            case _:
                raise OrderError(f"an order must be link NAME up|down, not {' '.join(words)!r}")
