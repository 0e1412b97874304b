"""The world around the card is imported only when a command needs it."""

from importlib import import_module

from .errors import CommandError

__all__ = ["late"]


def late(module):
    """Module ``module`` of ``sim`` or ``fpga``; one clear line if something it needs is missing."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(f"{module} needs {error.name}, which is not installed "
                           f"(offloadcard doctor tells how to get it)") from None
