"""How long the searching tests search: ``make soak`` wants more of each."""

import os

__all__ = ["TIMES"]

TIMES = int(os.environ.get("OFFLOADCARD_EXAMPLES", "1"))  # so many times the examples
