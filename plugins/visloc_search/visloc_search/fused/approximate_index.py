"""The nearest points by inverted lists, for maps in which comparing all points takes too long.

A short list of them is compared again by its stored descriptors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.localization.inverted_lists import LEAST_ROWS, Arrays, learn_lists, make_lists, short_lists
from visloc_ros.localization.models import load_faiss
from visloc_search.fused.config import AUTO, EXACT, IVF_PQ
from visloc_search.fused.fusion import Codebook, FusedQuery
from visloc_search.fused.point_index import (
    ExactIndex,
    Neighbours,
    half_squares,
)

MOST_EXACT_POINTS = 100_000
"""Comparing 1000 keypoints with this number of points takes 26 GFLOP, about half a second on one processor."""

_SHORT_LIST = 32  # points of which the nearest is found by its stored descriptor
_PROBED_LISTS = 128  # of 4000 for a million points: 97 % of the exact inliers; with 96 96 %, with 64 93 %


class ApproximateIndex:
    """Takes a short list of points from faiss, and finds the nearest of it by their stored descriptors."""

    def __init__(self, codebook: Codebook, index: Any) -> None:
        self._codebook, self._index = codebook, index
        self._exact = ExactIndex(codebook)

    def search(self, query: FusedQuery, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The nearest point of each keypoint, of those that are ``allowed`` (P,), where that is given."""
        if allowed is not None and np.count_nonzero(allowed) <= MOST_EXACT_POINTS:
            return self._exact.search(query, allowed)
        fused = query.fused
        found = short_lists(self._index, fused, _SHORT_LIST, _PROBED_LISTS, allowed)
        points = self._codebook.rows(found.ravel())
        scores = np.matmul(points.reshape(*found.shape, -1), fused[:, :, None])[:, :, 0]
        scores -= half_squares(points).reshape(found.shape)
        scores[found < 0] = -np.inf
        nearest = np.arange(len(query)), scores.argmax(axis=1)
        return Neighbours(found[nearest], scores[nearest])


PointIndex = ExactIndex | ApproximateIndex


def chosen_index(name: str, num_points: int) -> str:
    """The kind that ``auto`` means for a number of points; too few for IVF-PQ to learn from are all compared."""
    fewest = MOST_EXACT_POINTS + 1 if name == AUTO else LEAST_ROWS
    return IVF_PQ if name != EXACT and num_points >= fewest else EXACT


def make_index(kind: str, codebook: Codebook, learned: Arrays | None = None) -> PointIndex:
    """The index of a kind, exact or IVF-PQ, for which ``learned`` is what ``learn_index`` gave.

    Raises ModelError where faiss is not installed, MapError where what was learned is of another codebook.
    """
    if kind == EXACT:
        return ExactIndex(codebook)
    _check_faiss()
    return ApproximateIndex(codebook, make_lists(learned or learn_index(codebook), len(codebook), codebook.length))


def learn_index(codebook: Codebook, seed: int = 0) -> Arrays:
    """Learn the inverted lists of a codebook. Raises ModelError where faiss is not installed."""
    _check_faiss()
    return learn_lists(codebook.rows, len(codebook), codebook.length, seed)


def _check_faiss() -> None:
    load_faiss(f"an index '{IVF_PQ}' of points", f", or prepare with index: {EXACT}")
