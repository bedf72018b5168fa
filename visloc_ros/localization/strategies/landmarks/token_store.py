"""The tokens of many images in one piece, so that samples of them are gathered at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import NO_POINT
from visloc_ros.localization.strategies.landmarks.tokens import LabelledImage

Rows = NDArray[np.int64]


class TokenStore:
    """Descriptors (T, D) in half precision, positions (T, 2) and labels (T,) of all tokens of images.

    Half precision is a thirtieth of the noise that training adds. Raises ValueError without images.
    """

    def __init__(self, images: Sequence[LabelledImage]) -> None:
        self._ends = np.cumsum([len(image) for image in images])
        self.descriptors = np.concatenate([image.descriptors.astype(np.float16) for image in images])
        self.positions = np.concatenate([image.positions for image in images])
        self.labels = np.concatenate([image.labels for image in images])
        self._index_tracks(np.concatenate([image.point_rows for image in images]))

    def rows_of(self, image: int) -> Rows:
        """Rows of an image's tokens."""
        return np.arange(self._ends[image - 1] if image else 0, self._ends[image], dtype=np.int64)

    def other_observations(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """For each row one of an observation of the same map point, which may be itself; itself where it has none."""
        lengths = self._lengths[rows]
        drawn = self._starts[rows] + (rng.random(rows.shape) * lengths).astype(np.int64)
        return np.asarray(self._by_point[drawn])

    def _index_tracks(self, points: Rows) -> None:
        """List rows by point; a token without a point is a track of its own."""
        alone = points == NO_POINT
        points = np.where(alone, points.max(initial=0) + 1 + np.arange(len(points)), points)
        self._by_point = np.argsort(points, kind="stable")
        _, track, counts = np.unique(points, return_inverse=True, return_counts=True)
        self._lengths = counts[track]
        self._starts = (np.cumsum(counts) - counts)[track]
