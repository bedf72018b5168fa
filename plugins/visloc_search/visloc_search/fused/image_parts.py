"""The part that images, of a map and queries in it, add to the descriptors of their keypoints.

The query's descriptor is replaced by those of the most similar map images, in which the light is that of the map. After
FUSELOC (arXiv 2408.12037), which takes one image: the mean of a few is not lost where one of them is wrong. They are
compared by a sketch, some of their numbers: 512 of VLAD's 4096 find the same images, 128 do not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_search.fused.fusion import Float32, Fusion, unit

SKETCH_LENGTH = 512
_MOST_SIMILAR = 3  # images: 1, 2 and 5 were as good, 10 a little worse


class ImageParts:
    """Reduced descriptors (M, D) of a map's images, and how to make those of queries.

    ``sketches`` (M, S) of the map's images serve to convert a query's descriptor; without any, (0, 0), it stays.
    """

    def __init__(self, fusion: Fusion, reduced: Float32, sketches: NDArray[np.floating]) -> None:
        self.fusion, self.reduced = fusion, reduced
        self.sketches: Float32 = np.ascontiguousarray(sketches, np.float32)

    def of_query(self, descriptor: Float32) -> Float32:
        """The part (D,) of a query with a descriptor (G,)."""
        if not self.sketches.size:
            return self.fusion.reduce(descriptor)
        similarity = self.sketches @ sketch(descriptor)
        rows = np.argsort(-similarity, kind="stable")[:_MOST_SIMILAR]
        weights = np.maximum(similarity[rows], 0.0)
        weights = weights / weights.sum() if weights.any() else np.full(len(rows), 1.0 / len(rows))
        return np.asarray(unit(weights.astype(np.float32) @ self.reduced[rows]), np.float32)


def sketch_length(length: int) -> int:
    """How many of the numbers of a descriptor are kept."""
    return min(length, SKETCH_LENGTH)


def sketch(descriptors: NDArray[np.floating]) -> Float32:
    """Unit vectors (..., S) of numbers at even distances of descriptors (..., G), of all where there are few."""
    length = descriptors.shape[-1]
    kept = np.arange(sketch_length(length)) * length // sketch_length(length)
    return np.asarray(unit(descriptors[..., kept].astype(np.float32)), np.float32)
