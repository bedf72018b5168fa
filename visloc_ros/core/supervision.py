"""A process and its supervisor: how often it was restarted, and that it ends with its supervisor."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

RESTARTS_VARIABLE = "VISLOC_RESTARTS"
_PR_SET_PDEATHSIG = 1  # of Linux' prctl


def restarts() -> int:
    """How often this process was restarted, from an environment variable; 0 without one."""
    given = os.environ.get(RESTARTS_VARIABLE, "")
    return int(given) if given.isdecimal() else 0


def end_with(parent: int) -> None:
    """Get SIGINT when the process of this number, which started this one, dies, by SIGKILL too; on Linux only."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:  # it has died meanwhile
        signal.raise_signal(signal.SIGINT)
