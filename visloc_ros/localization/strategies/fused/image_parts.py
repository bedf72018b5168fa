"""The part that images, of a map and queries in it, add to the descriptors of their keypoints.

The query's descriptor is replaced by those of the most similar map images, in which the light is that of the map. After
FUSELOC (arXiv 2408.12037), which takes one image: the mean of a few is not lost where one of them is wrong. They are
compared by a sketch, some of their numbers: 512 of VLAD's 4096 find the same images, 128 do not.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.localization.reduced_map.frames import Covisibility, Rows
from visloc_ros.localization.strategies.fused.fusion import Float32, Fusion, unit

_log = logging.getLogger(__name__)

SKETCH_LENGTH = 512
LEAST_MARGIN = 0.05
"""Of dot products of unit descriptors: with a smaller one, another place is so similar that it may be the right one."""

_MOST_SIMILAR = 3  # images: 1, 2 and 5 were as good, 10 a little worse


class ImageParts:
    """Reduced descriptors (M, D) of a map's images, and how to make those of queries.

    ``sketches`` (M, S) of the map's images, which show the points ``point_rows`` of ``num_points``, serve to convert a
    query's descriptor; without any, (0, 0), it stays.
    """

    def __init__(
        self,
        fusion: Fusion,
        reduced: Float32,
        sketches: NDArray[np.floating],
        point_rows: Sequence[Rows],
        num_points: int,
    ) -> None:
        self.fusion, self.reduced, self.sketches = fusion, reduced, sketches
        self._converter = Converter(sketches, point_rows, num_points) if sketches.size else None

    def of_query(self, descriptor: Float32, name: str = "") -> Float32:
        """The part (D,) of a query with a descriptor (G,); its name is for the log."""
        if self._converter is None:
            return self.fusion.reduce(descriptor)
        conversion = self._converter.convert(descriptor)
        if not conversion.is_sure:
            words = "%s looks like images of two places: one is more similar by %.3f only"
            _log.info(words, name or "an image", conversion.margin)
        return np.asarray(unit(conversion.weights @ self.reduced[conversion.rows]), np.float32)


def sketch_length(length: int) -> int:
    """How many of the numbers of a descriptor are kept."""
    return min(length, SKETCH_LENGTH)


def sketch(descriptors: NDArray[np.floating]) -> Float32:
    """Unit vectors (..., S) of numbers at even distances of descriptors (..., G), of all where there are few."""
    length = descriptors.shape[-1]
    kept = np.arange(sketch_length(length)) * length // sketch_length(length)
    return np.asarray(unit(descriptors[..., kept].astype(np.float32)), np.float32)


@dataclass(frozen=True, eq=False)
class Conversion:
    """Rows (K,) of the most similar map images, most first, weights that sum to 1, and a margin.

    By so much the first is more similar than the best one that shows other points; infinite where none does.
    """

    rows: NDArray[np.intp]
    weights: Float32
    margin: float

    @property
    def is_sure(self) -> bool:
        """Whether no other place is about as similar."""
        return self.margin >= LEAST_MARGIN


class Converter:
    """Finds the most similar map images by sketches (M, S); ``point_rows`` are what each shows."""

    def __init__(self, sketches: NDArray[np.floating], point_rows: Sequence[Rows], num_points: int) -> None:
        self._sketches = np.ascontiguousarray(sketches, np.float32)
        self._covisibility = Covisibility(point_rows, num_points)

    def convert(self, descriptor: Float32) -> Conversion:
        """The descriptor that replaces a query's (G,)."""
        similarity = self._sketches @ sketch(descriptor)
        rows = np.argsort(-similarity, kind="stable")[:_MOST_SIMILAR]
        weights = np.maximum(similarity[rows], 0.0)
        weights = weights / weights.sum() if weights.any() else np.full(len(rows), 1.0 / len(rows))
        elsewhere = np.ones(len(similarity), bool)
        elsewhere[[rows[0], *self._covisibility.rank(int(rows[0]), len(similarity))]] = False
        margin = float(similarity[rows[0]] - similarity[elsewhere].max()) if elsewhere.any() else np.inf
        return Conversion(rows, weights.astype(np.float32), margin)
