"""Mutual nearest neighbours of descriptors: the matcher without weights."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.types import Matches, ModelInfo


class NearestMatcher:
    """Matches unit descriptors that are each other's nearest neighbour by dot product, above a similarity."""

    def __init__(self, threshold: float = 0.1) -> None:
        self.threshold = threshold
        self.info = ModelInfo("nearest", "Apache-2.0")

    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual nearest neighbours with their dot product as score."""
        if len(a) == 0 or len(b) == 0:
            return Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32))
        similarity = np.asarray(a.descriptors, np.float32) @ np.asarray(b.descriptors, np.float32).T
        best_b, best_a = similarity.argmax(axis=1), similarity.argmax(axis=0)
        rows = np.arange(len(a))
        scores = similarity[rows, best_b]
        keep = (best_a[best_b] == rows) & (scores > self.threshold)
        pairs = np.column_stack((rows, best_b))[keep].astype(np.int32)
        return Matches(pairs, scores[keep].clip(0.0, 1.0))
