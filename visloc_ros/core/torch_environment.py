"""Settings of torch on CPUs: the waiting of its threads, and its cache of prepared computations."""

from __future__ import annotations

import os

_SPINS = 3000
"""How often a thread polls for the others before it sleeps, as libgomp counts; some ten microseconds.

Without any, a network for odometry takes 170 ms a frame, with these 110, with endless ones 95; a search with two
threads beside four other programs on two cores takes 0.6 s, 0.9 s (three times as long as alone, its share), 2 to 5 s.
"""
_KEPT_COMPUTATIONS = 64
"""Cached computations of each kind, each for one shape of its input (LRU_CACHE_CAPACITY; torch's default is 1024).

Each may hold its weights once more, and the number of keypoints is another one in every image. After 100 searches of
the simulated room, a random part of each image hidden, a process held 2.37 GB; with 64 it holds 1.94 GB and a search
takes 0.23 s of one processor in place of 0.25; with one 1.84 GB and 0.25 s.
"""


def prepare_torch() -> None:
    """Set both; to be called before torch is imported, which reads them then. Values that the user has set stay."""
    os.environ.setdefault("LRU_CACHE_CAPACITY", str(_KEPT_COMPUTATIONS))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))
