"""What a process sets for itself: its priority, its memory allocation, its end with the supervisor that restarts it."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import signal
import sys
import threading

RESTARTS_VARIABLE = "VISLOC_RESTARTS"
_PR_SET_PDEATHSIG = 1  # of Linux' prctl
# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_LARGEST_KEPT = 1 << 26  # bytes of one array
_MOST_KEPT = 1 << 28  # bytes in all
_STEP = 1 << 25  # bytes by which the memory grows
_ARENAS = 2  # parts of the memory; each keeps what is freed in it, and every new thread may open one (8 a core)
NICENESS = 5
"""A third of the share of an ordinary program (each step takes a fifth of it): beside two of them on its core a search
of 0.3 s ends in 2 s. At SCHED_IDLE it would never end."""


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


def keep_freed_memory() -> None:
    """Let arrays of images be freed without giving their memory back to the system; does nothing without glibc.

    Otherwise the kernel clears the pages of every image and maps them one by one: a quarter of a frame's time in a
    virtual machine.
    """
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return
    options = {
        _MMAP_THRESHOLD: _LARGEST_KEPT,
        _TRIM_THRESHOLD: _MOST_KEPT,
        _TOP_PAD: _STEP,
        _ARENA_MAX: _ARENAS,
    }
    for option, value in options.items():
        set_option(option, value)


def keep_loaded_objects() -> None:
    """Leave what has been loaded so far out of later garbage collections.

    One over models, maps and torch takes 0.1 s each time, in which images wait. What was left out before is looked at
    once more, so that a map that was closed meanwhile is freed.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    atexit.unregister(gc.unfreeze)
    atexit.register(gc.unfreeze)  # else libraries report at the end what was never freed


def give_way(process_id: int | None = None) -> None:
    """Lower the priority of the calling thread, or of a process, and of all that it starts later.

    Raises ProcessLookupError where there is no such process.
    """
    identity = threading.get_native_id() if process_id is None else process_id
    if os.getpriority(os.PRIO_PROCESS, identity) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, identity, NICENESS)
