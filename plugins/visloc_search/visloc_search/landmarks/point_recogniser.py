"""Recognises landmarks without a network: by the most similar points of each.

It needs nothing but the points that are matched anyway, and no training. Its time grows with the number of points, that
of a network does not.
"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.feature_files import LocalFeatures
from visloc_search.landmarks.landmark_map import LandmarkMap
from visloc_search.landmarks.recogniser import KEEP_ALL
from visloc_search.landmarks.tokens import BACKGROUND, Float32, unit_descriptors, unit_rows

_BACKGROUND_SIMILARITY = 0.6
"""Cosine of the most similar point where a keypoint shows none of the map: one of ten is more similar to one."""
_CLEAR = 0.05  # difference of two cosines that makes one landmark e times as probable as the other


class PointRecogniser:
    """A keypoint shows the landmark of the most similar point, or background where no point is similar."""

    background_threshold = KEEP_ALL
    """No keypoint is left out: to find out that it is background has taken as long as to match it."""

    def __init__(self, landmarks: LandmarkMap) -> None:
        order = np.argsort(landmarks.labels, kind="stable")
        self._descriptors = np.ascontiguousarray(unit_rows(landmarks.points.descriptors[order]))
        self.num_classes = 1 + landmarks.num_landmarks
        self._firsts = np.searchsorted(landmarks.labels[order], np.arange(1, self.num_classes))

    def recognise(self, features: LocalFeatures) -> Float32:
        """Probabilities (N, C) of the classes of an image's keypoints, by the most similar point of each landmark."""
        cosines = np.full((len(features), self.num_classes), _BACKGROUND_SIMILARITY, np.float32)
        if len(features):
            similarity = unit_descriptors(features) @ self._descriptors.T
            cosines[:, BACKGROUND + 1 :] = np.maximum.reduceat(similarity, self._firsts, axis=1)
        odds = np.exp((cosines - cosines.max(axis=1, keepdims=True)) / _CLEAR)
        return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)
