"""How torch computes on processors: how its threads wait for each other, and what it keeps of each computation."""

from __future__ import annotations

import os

_SPINS = 3000
"""Looks for the others before a thread sleeps, some ten microseconds, as libgomp counts them.

Without any, dpvo takes 170 ms a frame, with these 110 (results/odometry.md), with endless ones 95; a search with two
threads beside four other programs on two cores takes 0.6 s, 0.9 s (three times as long as alone, its share), 2 to 5 s.
"""
_KEPT_COMPUTATIONS = 64
"""Of each kind, prepared for one shape of its input, as torch counts them (LRU_CACHE_CAPACITY; 1024 by itself).

Each holds its weights once more, and the number of keypoints is another one in every image: 100 searches of images with
600 to 1024 keypoints took 2.37 GB, with 64 they take 1.94 GB, in 0.23 s each in place of 0.25 (one is no better).
"""


def prepare_torch() -> None:
    """Set both; to be called before torch is loaded, which reads them then. A choice of the user's stays."""
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(_KEPT_COMPUTATIONS))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
