"""From matched keypoints to 2D-3D correspondences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.map import NO_POINT, LocalFeatures, MapImage
from visloc_ros.features.types import Matches

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Query keypoints and the map points they may show, as parallel rows (N,), without repeats; scores (N,)."""

    keypoint_rows: Rows
    point_rows: Rows
    scores: Array

    def __len__(self) -> int:
        return len(self.keypoint_rows)

    @staticmethod
    def none() -> Correspondences:
        """No evidence."""
        return Correspondences(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    def pixels(self, features: LocalFeatures) -> Array:
        """COLMAP pixels (N, 2) of the query keypoints."""
        return features.keypoints[self.keypoint_rows].astype(np.float64)


def lift(matches: Matches, image: MapImage) -> Correspondences:
    """Follow matches (query, reference) to the 3D points of the reference keypoints; those without one are dropped."""
    keypoint_rows = matches.pairs[:, 0].astype(np.int64)
    point_rows = image.point_rows[matches.pairs[:, 1]].astype(np.int64)
    has_point = point_rows != NO_POINT
    return Correspondences(keypoint_rows[has_point], point_rows[has_point], matches.scores[has_point].astype(float))


def merge(parts: Sequence[Correspondences]) -> Correspondences:
    """Join the evidence of several references, the most promising first.

    Every distinct point of a keypoint is kept; exact repeats become one and their scores add up.
    """
    pairs = np.concatenate([np.column_stack((part.keypoint_rows, part.point_rows)) for part in parts])
    if len(pairs) == 0:
        return Correspondences.none()
    unique, rows = np.unique(pairs, axis=0, return_inverse=True)
    scores = np.zeros(len(unique))
    np.add.at(scores, rows.ravel(), np.concatenate([part.scores for part in parts]))
    order = np.argsort(-scores, kind="stable")
    return Correspondences(unique[order, 0], unique[order, 1], scores[order])
