"""What the acts share: the rig, the tenants, the gateway, the record."""

import json
import time
from pathlib import Path

from .record import Act

__all__ = ["Stage"]

RED, BLUE = 0, 1


class Stage:
    """The demo under way.

    Attributes
    ----------
    rig : sim.rig.Rig
    out : Path
        Folder of the report.
    stations, steps
        Of the capture.
    guests : list of VirtioNetDriver
        Red, blue, and red's neighbour.
    vnis, vteps : list
        Of red and blue: their networks, and the tunnel end point of each one's far side.
    timeline : list of dict
        One packet's way.
    """

    ACTS = ("arrival", "crossing", "neighbours", "drive", "policy", "limit", "misbehaviour",
            "account")

    def __init__(self, rig, out, arguments):
        self.rig, self.out, self.arguments = rig, Path(out), arguments
        self.acts, self.timeline = [], []
        self.guests, self.drive, self.gateway = [], None, None
        self.stations, self.steps = [], []
        self.vnis, self.vteps = [5001, 5002], ["198.51.100.3", "198.51.100.2"]
        self._progress = Path(arguments["progress"])
        self._done = 0.0

    def open(self, name, title):
        """Begin an act."""
        act = Act(name, title)
        self.acts.append(act)
        self._wall = time.monotonic()
        self.tell(title)
        return act

    def tell(self, text, share=None):
        """Tell the terminal where we are; ``share`` of the act that is done."""
        done = (len(self.acts) - 1 + (share or 0)) / len(self.ACTS)
        self._done = max(self._done, done)
        with open(self._progress, "a") as file:
            file.write(json.dumps({"done": self._done, "text": text}) + "\n")

    @property
    def bus(self):
        """The provider's bus."""
        return self.rig.bus

    @property
    def now_us(self):
        """Simulated time."""
        return self.rig.env.now_ns / 1000
