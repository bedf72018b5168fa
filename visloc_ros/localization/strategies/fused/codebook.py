"""The codebook: one fused descriptor for each point of a map, the mean over the images that see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.map import NO_POINT, MapImage
from visloc_ros.localization.reduced_map.frames import see
from visloc_ros.localization.strategies.fused.config import FLOAT16
from visloc_ros.localization.strategies.fused.fusion import Float32, Fusion, unit

_LARGEST = 127  # of 8 bits with sign
_LEAST = 1e-12


@dataclass(frozen=True, eq=False)
class Codebook:
    """Descriptors (P, D) of points, in half precision, or as 8 bits with a scale (P,) for each point."""

    values: NDArray[np.float16] | NDArray[np.int8]
    scales: Float32 | None = None

    @staticmethod
    def store(descriptors: NDArray[np.floating], storage: str) -> Codebook:
        """Round descriptors (P, D) as ``storage`` says."""
        if storage == FLOAT16:
            return Codebook(descriptors.astype(np.float16))
        scales = (np.abs(descriptors).max(axis=1) / _LARGEST).astype(np.float32)
        values = np.rint(descriptors / np.maximum(scales, np.float32(_LEAST))[:, None])
        return Codebook(np.clip(values, -_LARGEST, _LARGEST).astype(np.int8), scales)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def length(self) -> int:
        """How many numbers a descriptor has."""
        return int(self.values.shape[1])

    def rows(self, rows: slice | NDArray[np.integer]) -> Float32:
        """Descriptors (..., D) float32 of points by row."""
        values = self.values[rows].astype(np.float32)
        return values if self.scales is None else np.asarray(values * self.scales[rows][..., None], np.float32)


@dataclass(frozen=True, eq=False)
class ObservedPoints:
    """The points of a map that an image sees: rows (N,) of points, ascending, and of the keypoint of each."""

    point_rows: NDArray[np.int32]
    keypoints: NDArray[np.intp]

    @staticmethod
    def of(image: MapImage, points: Array) -> ObservedPoints:
        """Each point that an image has a keypoint of, the first one, and that projects into it."""
        seen = np.flatnonzero(image.point_rows != NO_POINT)
        distinct, first = np.unique(image.point_rows[seen], return_index=True)
        rows = see(image.map_from_camera, image.camera, points, distinct).point_rows
        return ObservedPoints(rows, seen[first[np.searchsorted(distinct, rows)]])


class PointSums:
    """Sums over images of what they see of points, in double precision."""

    def __init__(self, num_points: int, length: int) -> None:
        self._local = np.zeros((num_points, length))
        self._reduced = np.zeros((num_points, length))
        self.counts = np.zeros(num_points, np.int64)

    def add(self, observed: ObservedPoints, descriptors: NDArray[np.floating], reduced: Float32) -> None:
        """Add an image's descriptors (N, D) of the observed points, and its own (D,)."""
        rows = observed.point_rows
        self._local[rows] += descriptors.astype(np.float64)
        self._reduced[rows] += reduced.astype(np.float64)
        self.counts[rows] += 1

    def means(self, lam: float, rows: NDArray[np.integer]) -> NDArray[np.float64]:
        """Fused descriptors (K, D) of points by row (K,), each seen by at least one image."""
        sums = lam * self._local[rows] + (1.0 - lam) * self._reduced[rows]
        return np.asarray(sums / self.counts[rows, None])


def sum_up(
    images: Sequence[MapImage], observed: Sequence[ObservedPoints], reduced: Float32, num_points: int
) -> PointSums:
    """The sums over images, whose descriptors are reduced to (M, D)."""
    sums = PointSums(num_points, reduced.shape[1])
    for image, one, own in zip(images, observed, reduced, strict=True):
        sums.add(one, image.features.descriptors[one.keypoints], own)
    return sums


def local_descriptors(
    codebook: Codebook, fusion: Fusion, reduced: Float32, first_row: NDArray[np.int64], point_rows: NDArray[np.int32]
) -> NDArray[np.float16]:
    """Unit descriptors (P, D) of points without the part of the images, which is known exactly.

    It is the mean of the reduced descriptors (M, D) of the images that see the point: image m sees the points
    ``point_rows[first_row[m]:first_row[m + 1]]``, each at least once.
    """
    sums, counts = np.zeros((len(codebook), codebook.length), np.float32), np.zeros(len(codebook), np.float32)
    for row, own in enumerate(reduced):
        seen = point_rows[first_row[row] : first_row[row + 1]]
        sums[seen] += own
        counts[seen] += 1.0
    of_images = sums / np.maximum(counts, 1.0)[:, None]
    local = (codebook.rows(slice(None)) - (1.0 - fusion.lam) * of_images) / fusion.lam
    return unit(local).astype(np.float16)
