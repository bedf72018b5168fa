"""Tasks that choose pairs of images by their global descriptors: some images against all, a shard at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_cluster.mapping.needs import SMALL
from visloc_ros.execution.store import Artifact
from visloc_ros.execution.tasks import Inputs, Stage, Task
from visloc_ros.mapping.config import PairConfig
from visloc_ros.mapping.pairs import Pair

_SHARDS = 16  # whose images one task compares to all others: it reads all descriptors once


def pair_tasks(described: Sequence[Sequence[str]], counts: Sequence[Sequence[int]], config: PairConfig) -> list[Task]:
    """Alike images within and across sources, and other visits, as ``choose_pairs`` has them at unknown poses.

    ``described`` are the keys of each source's described shards, ``counts`` the images that these hold.
    """
    keys = [key for of_source in described for key in of_source]
    groups = [number for number, of_source in enumerate(described) for _ in of_source]
    starts = np.cumsum([0, *(count for of_source in counts for count in of_source)]).tolist()
    arguments = {
        "groups": groups,
        "starts": starts,
        "tops": {"alike": config.retrieval, "others": config.retrieval, "loops": config.loops},
        "window": config.window,
        "gap": config.loop_gap,
    }
    places = [list(range(begin, min(begin + _SHARDS, len(keys)))) for begin in range(0, len(keys), _SHARDS)]
    return [Task(PAIR, {**arguments, "own": own}, tuple(keys)) for own in places]


def unpack_pairs(artifacts: Sequence[Artifact]) -> list[Pair]:
    """The pairs of all tasks, each once, the smaller row first, in increasing order."""
    every = np.sort(np.concatenate([np.empty((0, 2), np.int64), *(one["pairs"] for one in artifacts)]), axis=1)
    return [(int(i), int(j)) for i, j in np.unique(every, axis=0)]


def _pair(arguments: Mapping[str, Any], inputs: Inputs) -> Artifact:
    groups, starts, own = arguments["groups"], np.array(arguments["starts"]), arguments["own"]
    vectors = np.concatenate([inputs[place]["global"] for place in own])
    rows = np.arange(starts[own[0]], starts[own[-1] + 1])
    own_groups = np.concatenate([np.full(starts[place + 1] - starts[place], groups[place]) for place in own])
    best = {name: _Best(len(rows), top) for name, top in arguments["tops"].items()}
    for place, described in enumerate(inputs):
        columns = np.arange(starts[place], starts[place + 1])
        scores = vectors @ described["global"].T
        apart = np.abs(rows[:, None] - columns)
        same = np.broadcast_to((own_groups == groups[place])[:, None], apart.shape)
        allowed = {"alike": same & (apart > arguments["window"]), "others": ~same}
        allowed["loops"] = same & (apart >= arguments["gap"])
        for name, one in best.items():
            one.add(np.where(allowed[name], scores, -np.inf), columns)
    return {"pairs": np.concatenate([one.pairs(rows) for one in best.values()])}


class _Best:
    """The highest scores of every row so far, and their columns; ties take the first."""

    def __init__(self, count: int, top: int) -> None:
        self._top = top
        self._scores = np.full((count, top), -np.inf, np.float32)
        self._columns = np.full((count, top), -1, np.int64)

    def add(self, scores: NDArray[np.floating], columns: NDArray[np.int64]) -> None:
        """Take scores (R, C) of further columns (C,)."""
        every = np.hstack([self._scores, scores])
        names = np.hstack([self._columns, np.broadcast_to(columns, scores.shape)])
        kept = np.argsort(-every, axis=1, kind="stable")[:, : self._top]
        self._scores = np.take_along_axis(every, kept, axis=1)
        self._columns = np.take_along_axis(names, kept, axis=1)

    def pairs(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pairs (K, 2) of these rows and their columns."""
        found = np.isfinite(self._scores)
        places, _ = np.nonzero(found)
        return np.column_stack([rows[places], self._columns[found]])


PAIR = Stage("pair", _pair, SMALL)
