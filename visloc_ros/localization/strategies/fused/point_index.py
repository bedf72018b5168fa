"""Which points of a map have the fused descriptors nearest to those of an image's keypoints: exactly, by BLAS.

The nearest by Euclidean distance has the largest q.F - |F|^2 / 2 = lam l.F + (1 - lam) P(g).F - |F|^2 / 2. The last two
terms are the same for all keypoints of an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.localization.evidence import Correspondences
from visloc_ros.localization.strategies.fused.fusion import Codebook, Float32, FusedQuery

BLOCK = 4096  # points compared at once: with 512 keypoints 8 MB of similarities, about what a processor's cache holds


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Rows (N, K) of the points nearest to each keypoint, the nearest first, and scores, -inf where there is none.

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

    def search(self, query: FusedQuery, count: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The ``count`` nearest points of each keypoint, of those that are ``allowed`` (P,), where that is given."""
        among = None if allowed is None else np.flatnonzero(allowed)
        total = len(self._codebook) if among is None else len(among)
        best = Neighbours(np.zeros((len(query), 0), np.intp), np.zeros((len(query), 0), np.float32))
        for block in _blocks(total):
            rows = block if among is None else among[block]
            scores = self._scores(query, rows)
            columns = largest(scores, count)
            found = np.arange(total)[block][columns] if among is None else among[block][columns]
            best = _merged(best, Neighbours(found, np.take_along_axis(scores, columns, axis=1)), count)
        return best

    def _scores(self, query: FusedQuery, rows: slice | NDArray[np.intp]) -> Float32:
        """Scores (N, B) of points by row (B,)."""
        points = self._codebook.rows(rows)
        of_image = np.float32(1.0 - query.lam) * (points @ query.reduced) - self._half_squares[rows]
        scores = query.local @ points.T
        scores *= np.float32(query.lam)
        scores += of_image
        return np.asarray(scores)


def as_correspondences(query: FusedQuery, neighbours: Neighbours) -> Correspondences:
    """Keypoints with the points nearest to them, the nearest pairs first; a point only with its nearest keypoint.

    A point has one projection: of several keypoints that take it, all but one are wrong. Scores are minus half the
    squared distances.
    """
    scores = neighbours.scores - half_squares(query.fused)[:, None]
    keypoint_rows = np.repeat(np.arange(len(query)), neighbours.rows.shape[1])
    point_rows, scores = neighbours.rows.ravel(), scores.ravel()
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    kept = order[np.sort(np.unique(point_rows[order], return_index=True)[1])]
    return Correspondences(
        keypoint_rows[kept].astype(np.int64), point_rows[kept].astype(np.int64), scores[kept].astype(np.float64)
    )


def half_squares(points: Float32) -> Float32:
    """Half the squared lengths (B,) of descriptors (B, D)."""
    return np.asarray(0.5 * np.einsum("bd,bd->b", points, points), np.float32)


def largest(scores: Float32, count: int) -> NDArray[np.intp]:
    """Columns (N, K) of the ``count`` largest scores of each row, or of all, the largest first."""
    count = min(count, scores.shape[1])
    if count == 1:
        return np.asarray(scores.argmax(axis=1)[:, None])
    columns = np.argpartition(-scores, count - 1, axis=1)[:, :count] if count else np.empty((len(scores), 0), np.intp)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _blocks(total: int) -> list[slice]:
    return [slice(first, min(first + BLOCK, total)) for first in range(0, total, BLOCK)]


def _merged(one: Neighbours, other: Neighbours, count: int) -> Neighbours:
    rows, scores = np.hstack([one.rows, other.rows]), np.hstack([one.scores, other.scores])
    columns = largest(scores, count)
    return Neighbours(np.take_along_axis(rows, columns, axis=1), np.take_along_axis(scores, columns, axis=1))
