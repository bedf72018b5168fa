"""Landmarks that look like others, by the descriptors of their points, independent of what a network has learned.

A network that is trained on two places that look alike may be sure of one of them for no good reason; the descriptors
of their points still show the likeness.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from visloc_ros.localization.strategies.landmarks.landmark_map import LandmarkMap
from visloc_ros.localization.strategies.landmarks.tokens import Float32, unit_rows

_SAMPLES = 64  # points of a landmark that are compared with all others
ALIKE = 0.7
"""Cosine of points that look alike; for the most similar point elsewhere it is 0.4 in the median, 0.6 in one of ten."""

_LEAST_ALIKE = 8  # samples: a landmark elsewhere that holds as many may be the same thing


class LookAlikes:
    """Finds the landmarks that look like one, once for each landmark, when first needed."""

    def __init__(self, landmarks: LandmarkMap) -> None:
        self._landmarks = landmarks
        self._found: dict[int, tuple[int, ...]] = {}

    def of(self, label: int) -> tuple[int, ...]:
        """Landmarks of the same map that look like this one in part, without those that are seen together with it."""
        if label not in self._found:
            covisible = [other for other in range(1, self._landmarks.num_landmarks + 1) if self.covisible(label, other)]
            self._found[label] = self.like(self.samples(label), covisible)
        return self._found[label]

    def covisible(self, one: int, other: int) -> bool:
        """Whether the frames of two landmarks show common points."""
        frames = (self._landmarks.map.images[self._landmarks.frame_rows[label - 1]] for label in (one, other))
        seen, others = (frame.point_rows for frame in frames)
        return bool(np.isin(seen, others).any())

    def samples(self, label: int) -> Float32:
        """Unit descriptors (S, D) of some points of a landmark."""
        rows = np.flatnonzero(self._landmarks.labels == label)
        places = np.linspace(0, len(rows) - 1, min(_SAMPLES, len(rows))).astype(np.intp)
        return np.asarray(self._descriptors[rows[places]])

    def like(self, samples: Float32, without: list[int] | None = None) -> tuple[int, ...]:
        """Landmarks with points like those whose descriptors (S, D) are given, ``without`` some of them."""
        rows = np.flatnonzero(~np.isin(self._landmarks.labels, without or []))
        if len(rows) == 0:
            return ()
        similarity = samples @ self._descriptors[rows].T
        alike = similarity.max(axis=1) >= ALIKE
        counts = np.bincount(self._landmarks.labels[rows[similarity[alike].argmax(axis=1)]])
        return tuple(int(label) for label in np.flatnonzero(counts >= _LEAST_ALIKE))

    def share_like(self, samples: Float32) -> float:
        """Share of the samples (S, D) that some point of the map is like."""
        return float(((samples @ self._descriptors.T).max(axis=1) >= ALIKE).mean())

    @cached_property
    def _descriptors(self) -> Float32:
        return unit_rows(self._landmarks.points.descriptors)
