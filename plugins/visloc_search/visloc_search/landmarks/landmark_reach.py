"""Which landmarks an image may show: by a hint, from where each can be seen, and those that look like one.

A network that is trained on two places that look alike may be sure of one of them for no good reason; the descriptors
of their points still show the likeness, independent of what a network has learned.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_ros.localization.search_hint import HeadingHint, SearchHint
from visloc_ros.localization.view_change import typical_depth
from visloc_search.landmarks.landmark_map import LandmarkMap
from visloc_search.landmarks.text_likelihood import TextLikelihood, log_mean
from visloc_search.landmarks.tokens import BACKGROUND, Float32, unit_rows

_LEAST = 1e-12
_LEAST_SHOWN = 8  # points of a landmark that a frame shows


class LandmarkReach:
    """Where landmarks are: ``centres`` (k, 3), and ``spreads`` (k,), the distance of cameras that see one.

    The spread combines the extent of the landmark and the distance from which the map's cameras see it. ``texts`` give
    the likelihoods of landmarks by a text that was read.
    """

    def __init__(self, landmarks: LandmarkMap, texts: TextLikelihood | None = None) -> None:
        self._texts, self._name = texts, landmarks.map.name
        points = [landmarks.map.points[landmarks.labels == label] for label in range(1, landmarks.num_landmarks + 1)]
        frames = [landmarks.map.images[row] for row in landmarks.frame_rows]
        distances = [typical_depth(frame.map_from_camera, seen) for frame, seen in zip(frames, points, strict=True)]
        self.centres: Array = np.array([seen.mean(axis=0) for seen in points])
        self.spreads: Array = np.hypot([_extent(seen) for seen in points], distances)
        self._axes: Array = np.array([image.map_from_camera.rotation[:, 2] for image in landmarks.map.images])
        self._shown = _shown(landmarks)

    def weigh(self, probabilities: Float32, hint: SearchHint) -> Float32:
        """Probabilities (N, C) by Bayes' rule, with the hint's likelihood of each landmark; background is anywhere."""
        likelihoods = np.exp(self.log_likelihoods_of_text(hint))
        likelihoods /= likelihoods.max()
        if hint.position is not None:
            likelihoods *= hint.position.likelihoods(self.centres, self.spreads)
        if hint.heading is not None:
            likelihoods *= self._facing(hint.heading)
        weighed = probabilities * np.insert(likelihoods, BACKGROUND, 1.0)
        return np.asarray(weighed / np.maximum(weighed.sum(axis=1, keepdims=True), _LEAST), np.float32)

    def log_likelihoods_of_text(self, hint: SearchHint) -> Array:
        """Logarithms (k,) of how well each landmark goes with a hint's text; all 0 without one.

        Raises MapError where the map was prepared without texts, ConfigError for the embedding of another model.
        """
        if hint.text is None:
            return np.zeros(len(self.centres))
        if self._texts is None:
            raise MapError(
                f"the map '{self._name}' was prepared without texts, so that the text of a hint says nothing: run "
                "'visloc prepare MAP --for landmarks --texts FILE', or leave the text out"
            )
        return self._texts.of(hint.text)

    def log_likelihood_of_text(self, hint: SearchHint, labels: NDArray[np.integer]) -> float:
        """Logarithm of how well these landmarks (N,), 0 for none, go with a hint's text."""
        return log_mean(self.log_likelihoods_of_text(hint)[labels[labels > 0] - 1])

    def _facing(self, heading: HeadingHint) -> Array:
        """Likelihoods (k,) by the frame that looks most like the heading, of those that show a landmark."""
        return np.asarray((self._shown * heading.likelihoods(self._axes)).max(axis=1))


def _shown(landmarks: LandmarkMap) -> NDArray[np.bool_]:
    """Which frames (F,) show each landmark (k, F); its own frame does in any case."""
    labels = range(1, landmarks.num_landmarks + 1)
    rows = [image.point_rows for image in landmarks.map.images]
    counts = [np.bincount(landmarks.labels[one], minlength=len(labels) + 1)[1:] for one in rows]
    shown = np.array(counts).T >= _LEAST_SHOWN
    shown[np.arange(len(labels)), landmarks.frame_rows] = True
    return shown


def _extent(points: Array) -> float:
    """Root mean square distance of points (N, 3) from their middle."""
    return float(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean()))


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
