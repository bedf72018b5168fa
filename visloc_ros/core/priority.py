"""Lower priority for work that may be late, so that it gives way on a busy computer."""

from __future__ import annotations

import os
import threading

NICENESS = 5
"""A third of the share of an ordinary program (each step takes a fifth of it): beside two of them on its core a search
of 0.3 s ends in 2 s. At SCHED_IDLE it would never end."""


def give_way(process_id: int | None = None) -> None:
    """Lower the priority of the calling thread, or of a process, and of all that it starts later.

    Raises ProcessLookupError where there is no such process.
    """
    identity = threading.get_native_id() if process_id is None else process_id
    if os.getpriority(os.PRIO_PROCESS, identity) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, identity, NICENESS)
