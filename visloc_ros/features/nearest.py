"""Mutual nearest neighbours of descriptors: the matcher without weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.types import Matches, ModelInfo

NO_MATCHES = Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32))


class NearestMatcher:
    """Matches unit descriptors that are each other's nearest neighbour by dot product, above a similarity.

    With ``ratio`` below 1 the second nearest neighbour on either side must be further off by that factor (Lowe 2004).
    """

    def __init__(self, threshold: float = 0.1, ratio: float = 1.0) -> None:
        self.threshold = threshold
        self.ratio = ratio
        self.info = ModelInfo("nearest", "Apache-2.0")
        self.batch_size = 1

    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual nearest neighbours with their dot product as score. Raises ModelError for unlike descriptors."""
        if len(a) == 0 or len(b) == 0:
            return NO_MATCHES
        similarity = _similarity(a, b)
        rows, best = np.arange(len(a)), similarity.argmax(axis=1)
        scores = similarity[rows, best]
        rows = rows[(scores > self.threshold) & (scores >= similarity.max(axis=0)[best])]
        rows = rows[np.sort(np.unique(best[rows], return_index=True)[1])]  # equal descriptors: the first one
        if self.ratio < 1.0:
            rows = rows[_are_distinct(similarity, rows, best[rows], self.ratio)]
        pairs = np.column_stack((rows, best[rows])).astype(np.int32)
        return Matches(pairs, scores[rows].clip(0.0, 1.0))

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Matches of the query with every reference."""
        return [self.match(query, reference) for reference in references]


def check_lengths(a: LocalFeatures, b: LocalFeatures) -> None:
    """Raise ModelError for descriptors of different lengths."""
    lengths = a.descriptors.shape[1], b.descriptors.shape[1]
    if lengths[0] != lengths[1]:
        raise ModelError(f"descriptors of length {lengths[0]} and {lengths[1]} come from different extractors")


def _similarity(a: LocalFeatures, b: LocalFeatures) -> NDArray[np.float32]:
    check_lengths(a, b)
    return np.asarray(a.descriptors, np.float32) @ np.asarray(b.descriptors, np.float32).T


def _are_distinct(
    similarity: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp], ratio: float
) -> NDArray[np.bool_]:
    """Whether mutual nearest neighbours are closer than ``ratio`` times the second nearest one of either.

    The largest values without those of the neighbours, which are overwritten: a sort takes ten times as long.
    """
    best = similarity[rows, columns]
    similarity[rows, columns] = -np.inf
    second = np.maximum(similarity.max(axis=1)[rows], similarity.max(axis=0)[columns])
    squared_distances = np.maximum(2.0 - 2.0 * np.stack((best, second)), 0.0)
    return np.asarray(squared_distances[0] <= ratio**2 * squared_distances[1])
