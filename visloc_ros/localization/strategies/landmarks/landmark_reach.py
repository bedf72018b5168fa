"""From where each landmark can be seen, and what a roughly known position therefore says of what an image shows."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.localization.position_hint import PositionHint
from visloc_ros.localization.strategies.landmarks.landmark_map import LandmarkMap
from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND, Float32
from visloc_ros.localization.view_change import typical_depth

_LEAST = 1e-12


class LandmarkReach:
    """Where landmarks are: ``centres`` (k, 3), and ``spreads`` (k,), how far away a camera that sees one is of it.

    The spread is made up of the extent of the landmark and of the distance from which the map's cameras see it.
    """

    def __init__(self, landmarks: LandmarkMap) -> None:
        points = [landmarks.map.points[landmarks.labels == label] for label in range(1, landmarks.num_landmarks + 1)]
        frames = [landmarks.map.images[row] for row in landmarks.frame_rows]
        distances = [typical_depth(frame.map_from_camera, seen) for frame, seen in zip(frames, points, strict=True)]
        self.centres: Array = np.array([seen.mean(axis=0) for seen in points])
        self.spreads: Array = np.hypot([_extent(seen) for seen in points], distances)

    def weigh(self, probabilities: Float32, hint: PositionHint) -> Float32:
        """Probabilities (N, C) by Bayes' rule, with the hint's likelihood of each landmark; background is anywhere."""
        likelihoods = hint.likelihoods(self.centres, self.spreads)
        weighed = probabilities * np.insert(likelihoods, BACKGROUND, 1.0)
        return np.asarray(weighed / np.maximum(weighed.sum(axis=1, keepdims=True), _LEAST), np.float32)


def _extent(points: Array) -> float:
    """Root mean square distance of points (N, 3) from their middle."""
    return float(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean()))
