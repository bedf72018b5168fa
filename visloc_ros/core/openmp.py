"""How the threads of OpenMP, torch's among them, wait for each other."""

from __future__ import annotations

import os

_SPINS = 3000
"""Looks for the others before a thread sleeps, some ten microseconds, as libgomp counts them.

Without any, dpvo takes 170 ms a frame, with these 110 (results/odometry.md), with endless ones 95; a search with two
threads beside four other programs on two cores takes 0.6 s, 0.9 s (three times as long as alone, its share), 2 to 5 s.
"""


def sleep_while_waiting() -> None:
    """Let them sleep soon; to be called before torch is loaded, which reads it then. A choice of the user's stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
