"""What the commands that boot guests have in common."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

from .console import console, progress_bar
from .errors import CommandError

__all__ = ["building", "config_of", "introduce", "progress", "terminal"]


def config_of(preset):
    """The configuration of that name."""
    from offloadcard.config import PRESETS
    if preset not in PRESETS:
        raise CommandError(f"--preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    return PRESETS[preset]


def terminal():
    """Path of the terminal that a shell gets."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("a shell needs a terminal; without one, give --script FILE")
    return Path(os.ttyname(sys.stdin.fileno()))


@contextmanager
def progress(title):
    """Give ``say(text, done)``, where ``done`` runs from 0 to 1."""
    with progress_bar(title, 1.0) as step:
        before = 0.0

        def say(text, done):
            nonlocal before
            step(text, done - before)
            before = done

        yield say


def building(text):
    """Told each step of building the card's simulator."""
    console.print(f"building the card: {text}", highlight=False)


def introduce(script):
    """What is about to be shown."""
    console.print(f"{script.name}: {script.shows}", highlight=False, markup=False)
