"""How many keypoints look most like a point of each map: what tells maps from each other at a glance.

The points of all maps lie in inverted lists (IVF, Jegou et al. 2011), of which a keypoint is compared with the nearest
one only, so that the time hardly grows with the number of maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import LocalFeatures
from visloc_ros.localization.faiss_library import load_faiss
from visloc_ros.localization.strategies.landmarks.landmark_map import LandmarkMap
from visloc_ros.localization.strategies.landmarks.look_alikes import ALIKE
from visloc_ros.localization.strategies.landmarks.tokens import Float32, unit_descriptors, unit_rows

_MOST_POINTS = 2048  # of a map, evenly: one megabyte
_MOST_KEYPOINTS = 128  # with the highest scores; the right one of 50 rooms gets 40 times the votes of the next
_LISTS_PER_ROOT = 2.0  # lists for each square root of the number of points: as many as a list has points, about
_ITERATIONS = 10  # of k-means


class PointVotes:
    """Counts, for each map, the keypoints whose most similar point of all maps is there. Raises ModelError."""

    def __init__(self, maps: Sequence[LandmarkMap]) -> None:
        rows = [_spread(len(one.labels)) for one in maps]
        self._ends = np.cumsum([one.num_landmarks for one in maps])
        firsts = self._ends - [one.num_landmarks for one in maps]
        self._classes = np.concatenate(
            [first + one.labels[kept] - 1 for first, one, kept in zip(firsts, maps, rows, strict=True)]
        )
        descriptors = [unit_rows(one.points.descriptors[kept]) for one, kept in zip(maps, rows, strict=True)]
        self._index = _inverted_lists(np.ascontiguousarray(np.concatenate(descriptors), np.float32))
        self._last: tuple[LocalFeatures, list[NDArray[np.int64]]] | None = None

    def count(self, features: LocalFeatures) -> list[NDArray[np.int64]]:
        """Votes of an image for the landmarks (k,) of each map; the image is looked at once, however often asked."""
        last = self._last  # another thread may put another image there
        if last is None or last[0] is not features:
            last = self._last = features, self._count(features)
        return last[1]

    def _count(self, features: LocalFeatures) -> list[NDArray[np.int64]]:
        best = features.take(np.argsort(-features.scores, kind="stable")[:_MOST_KEYPOINTS])
        similarity, nearest = self._index.search(unit_descriptors(best), 1)
        classes = self._classes[nearest[similarity >= ALIKE]]
        votes = np.bincount(classes, minlength=self._ends[-1])
        return np.split(votes, self._ends[:-1])


def _spread(count: int) -> NDArray[np.intp]:
    return np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(np.intp)


def _inverted_lists(descriptors: Float32) -> Any:
    """Unit descriptors (P, D) in lists of those that are alike."""
    faiss = load_faiss("searching several maps by landmarks")
    length, count = descriptors.shape[1], max(1, int(_LISTS_PER_ROOT * np.sqrt(len(descriptors))))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(length), length, count, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.min_points_per_centroid = _ITERATIONS, 1
    index.train(descriptors)
    index.add(descriptors)
    return index
