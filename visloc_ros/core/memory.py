"""Memory allocation of the process."""

from __future__ import annotations

import ctypes
import sys

# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8

_LARGEST_KEPT = 1 << 26  # bytes of one array
_MOST_KEPT = 1 << 28  # bytes in all
_STEP = 1 << 25  # bytes by which the memory grows
_ARENAS = 2  # parts of the memory; each keeps what is freed in it, and every new thread may open one (8 a core)


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
