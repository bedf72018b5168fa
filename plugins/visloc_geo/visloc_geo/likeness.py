"""How much two images share, by their local features alone: cheap enough for every view that retrieval finds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.feature_files import LocalFeatures

_ALIKE = 0.7  # cosine: photos of different places have hardly a pair beyond it, neighbours in a street dozens


def count_alike(a: LocalFeatures, b: LocalFeatures) -> int:
    """Number of features that are each other's nearest, and alike."""
    if not len(a) or not len(b):
        return 0
    cosines = _unit(a.descriptors) @ _unit(b.descriptors).T
    nearest, back = cosines.argmax(axis=1), cosines.argmax(axis=0)
    rows = np.arange(len(cosines))
    return int(np.sum((back[nearest] == rows) & (cosines[rows, nearest] > _ALIKE)))


def _unit(descriptors: NDArray[np.floating]) -> NDArray[np.float32]:
    rows = np.asarray(descriptors, np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
