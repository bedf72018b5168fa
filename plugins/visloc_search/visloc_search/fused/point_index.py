"""Which points of a map have the fused descriptors nearest to those of an image's keypoints: exactly, by BLAS.

The nearest by Euclidean distance has the largest q.F - |F|^2 / 2 = lam l.F + (1 - lam) P(g).F - |F|^2 / 2. The last two
terms are the same for all keypoints of an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.localization.evidence import Correspondences
from visloc_search.fused.fusion import Codebook, Float32, FusedQuery

BLOCK = 4096  # points compared at once: with 512 keypoints 8 MB of similarities, about what a processor's cache holds


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Row (N,) of the point nearest to each keypoint, and its score (N,), -inf where there is none.

    The squared distance is |q|^2 less twice the score.
    """

    rows: NDArray[np.intp]
    scores: Float32


class ExactIndex:
    """Compares all keypoints with all points, block by block: nothing but the codebook is held in memory."""

    def __init__(self, codebook: Codebook) -> None:
        self._codebook = codebook
        self._half_squares = np.concatenate(
            [np.empty(0, np.float32), *(half_squares(codebook.rows(block)) for block in _blocks(len(codebook)))]
        )

    def search(self, query: FusedQuery, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The nearest point of each keypoint, of those that are ``allowed`` (P,), where that is given."""
        among = None if allowed is None else np.flatnonzero(allowed)
        nearest = Neighbours(np.zeros(len(query), np.intp), np.full(len(query), -np.inf, np.float32))
        for block in _blocks(len(self._codebook) if among is None else len(among)):
            scores = self._scores(query, block if among is None else among[block])
            columns = scores.argmax(axis=1)
            found = columns + block.start if among is None else among[block][columns]
            best = scores[np.arange(len(query)), columns]
            nearer = best > nearest.scores
            nearest.rows[nearer], nearest.scores[nearer] = found[nearer], best[nearer]
        return nearest

    def _scores(self, query: FusedQuery, rows: slice | NDArray[np.intp]) -> Float32:
        """Scores (N, B) of points by row (B,)."""
        points = self._codebook.rows(rows)
        of_image = np.float32(1.0 - query.lam) * (points @ query.reduced) - self._half_squares[rows]
        scores = query.local @ points.T
        scores *= np.float32(query.lam)
        scores += of_image
        return np.asarray(scores)


def as_correspondences(query: FusedQuery, neighbours: Neighbours) -> Correspondences:
    """Keypoints with the point nearest to each, the nearest pairs first; a point only with its nearest keypoint.

    A point has one projection: of several keypoints that take it, all but one are wrong. Scores are minus half the
    squared distances.
    """
    scores = neighbours.scores - half_squares(query.fused)
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    kept = order[np.sort(np.unique(neighbours.rows[order], return_index=True)[1])]
    return Correspondences(kept, neighbours.rows[kept].astype(np.int64), scores[kept].astype(np.float64))


def half_squares(points: Float32) -> Float32:
    """Half the squared lengths (B,) of descriptors (B, D)."""
    return np.asarray(0.5 * np.einsum("bd,bd->b", points, points), np.float32)


def _blocks(total: int) -> list[slice]:
    return [slice(first, min(first + BLOCK, total)) for first in range(0, total, BLOCK)]
