"""What a command says when it cannot go on."""

__all__ = ["CommandError"]


class CommandError(Exception):
    """One clear line; the command line prints it and ends with exit code 2."""
