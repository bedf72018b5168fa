"""Verified pairs that a model contradicts: a sign of places that look alike and lie on one another in it.

Images that follow each other match beyond doubt. Where one shape fits all images, their matches became common points; a
wrong loop tears some of them apart. Pairs further apart may be contradicted rightly: those are the wrong loops.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from visloc_cluster.mapping.frames import StoredFrame
from visloc_cluster.mapping.matching import ViewGraph
from visloc_cluster.mapping.model import Model

_LEAST_EXPLAINED = 0.5  # of the matches of a pair: what most of them say
_MOST_CONTRADICTED = 0.1  # of pairs of following images: 0 to 6 % in right maps, 13 % in a folded one
_PAIRS_AT_ONCE = 10_000


def shares_explained(model: Model, graph: ViewGraph) -> NDArray[np.float64]:
    """For each pair, points that both images see over their matches (E,); NaN where the model lacks an image."""
    rows = np.full(int(max(graph.pairs.max(initial=0), model.images.max(initial=0))) + 1, -1)
    rows[model.images] = np.arange(len(model.images))
    ones = np.ones(len(model.seen), np.int32)
    sees = csr_array((ones, (model.seen_by, model.seen)), shape=(len(model.images), len(model.points)))
    shares = np.full(len(graph.pairs), np.nan)
    inside = np.flatnonzero((rows[graph.pairs] >= 0).all(axis=1))
    for some in np.array_split(inside, -(-len(inside) // _PAIRS_AT_ONCE) or 1):
        i, j = rows[graph.pairs[some]].T
        shares[some] = sees[i].multiply(sees[j]).sum(axis=1) / graph.inliers[some]
    return shares


def find_contradictions(model: Model, graph: ViewGraph, frames: Sequence[StoredFrame], window: int) -> list[str]:
    """A line of advice where a model contradicts pairs of following images, up to ``window`` apart; else none."""
    shares = shares_explained(model, graph)
    is_near = np.array([frames[i].source == frames[j].source and j - i <= window for i, j in graph.pairs], bool)
    judged = is_near & np.isfinite(shares)
    torn = np.flatnonzero(judged & (shares < _LEAST_EXPLAINED))
    if len(torn) <= _MOST_CONTRADICTED * judged.sum():
        return []
    first, last = (frames[row].name for row in graph.pairs[torn[np.argmin(shares[torn])]])
    return [
        f"the map contradicts the matches of {len(torn)} of {judged.sum()} pairs of images that follow each other, "
        f"above all those of '{first}' and '{last}': places that look alike may lie on one another in it. Do not rely "
        "on it; build with pairs.loops and pairs.retrieval 0, which closes no loops, or map the places one by one"
    ]
