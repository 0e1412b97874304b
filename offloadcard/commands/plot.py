"""``offloadcard plot``: plots of what ``bench`` wrote."""

from .console import console
from .errors import CommandError
from .late import late

__all__ = ["run"]


def run(*, files, out):
    """Draw the records in ``files`` into folder ``out``."""
    try:
        paths = late("sim.bench.plot").plot(files, out)
    except ValueError as error:
        raise CommandError(str(error)) from None
    for path in paths:
        console.print(str(path), highlight=False)
