"""Processes that must not outlive the one that started them."""

# Ref: linux-6.1, include/uapi/linux/prctl.h

import ctypes
import signal

__all__ = ["die_with_parent"]

_PR_SET_PDEATHSIG = 1


def die_with_parent():
    """In the child, before its program: it is killed when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
