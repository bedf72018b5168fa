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
        best_b, best_a = similarity.argmax(axis=1), similarity.argmax(axis=0)
        rows = np.arange(len(a))
        scores = similarity[rows, best_b]
        keep = (best_a[best_b] == rows) & (scores > self.threshold)
        if self.ratio < 1.0:
            keep &= _is_distinct(similarity, self.ratio) & _is_distinct(similarity.T, self.ratio)[best_b]
        pairs = np.column_stack((rows, best_b))[keep].astype(np.int32)
        return Matches(pairs, scores[keep].clip(0.0, 1.0))

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


def _is_distinct(similarity: NDArray[np.float32], ratio: float) -> NDArray[np.bool_]:
    """Whether each row's nearest neighbour is closer than ``ratio`` times the second nearest, if there is one."""
    if similarity.shape[1] < 2:
        return np.ones(len(similarity), np.bool_)
    second, best = np.partition(similarity, -2, axis=1)[:, -2:].T
    squared_distances = np.maximum(2.0 - 2.0 * np.stack((best, second)), 0.0)
    return np.asarray(squared_distances[0] <= ratio**2 * squared_distances[1])
