"""Fused descriptors: f = lam l + (1 - lam) P(g), of a keypoint's descriptor l and that of its image, g.

After FUSELOC (arXiv 2408.12037), whose tables show that it hardly matters how P brings the descriptor of an image to
the length of those of keypoints. It is brought to unit length, but nothing is after fusion: points that are seen from
many places have a shorter image part, which the search by Euclidean distance has to know. The codebook has one for each
point of a map, the mean over the images that see it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import NO_POINT, MapImage
from visloc_search.fused.config import FLOAT16, ORTHOGONAL, PCA, SUBSET
from visloc_search.reduced_map.frames import see_observed

Float32 = NDArray[np.float32]

_log = logging.getLogger(__name__)

PADDED = "identity"
"""Kind of the reduction of descriptors that are not longer than those of keypoints."""

_LEAST = 1e-12
_PROBE_SEED = 7
_MOST_DIFFERENT = 1e-4  # of what a probe of unit length is reduced to: rounding of other processors is below 1e-6
_STORED = {SUBSET: ("coordinates",), PCA: ("mean", "components")}


@dataclass(frozen=True, eq=False)
class Fusion:
    """Weight ``lam`` of the keypoint's descriptor, and how that of the image is reduced."""

    lam: float
    reducer: Reducer

    def reduce(self, descriptors: Float32) -> Float32:
        """P(g) (..., D) of descriptors (..., G) of images, of unit length; zeros stay zeros."""
        return np.asarray(unit(self.reducer.apply(descriptors)), np.float32)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors (..., D) of unit length; zeros stay zeros."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _LEAST))


@dataclass(frozen=True, eq=False)
class FusedQuery:
    """An image to search for: descriptors (N, D) of its keypoints, its own, reduced (D,), and the weight of the first.

    They are kept apart: the image's part of a similarity is the same for all keypoints, and computed once.
    """

    local: Float32
    reduced: Float32
    lam: float

    def __len__(self) -> int:
        return len(self.local)

    @property
    def fused(self) -> Float32:
        """Fused descriptors (N, D)."""
        return np.asarray(np.float32(self.lam) * self.local + np.float32(1.0 - self.lam) * self.reduced, np.float32)


@dataclass(frozen=True, eq=False)
class Reducer:
    """A linear map from length ``length_in`` to ``length_out``, made by ``Reducer.fit`` or ``Reducer.load``.

    Where the image's descriptor is no longer than that of a keypoint, it is padded with zeros, whatever the kind.
    """

    kind: str
    seed: int
    length_in: int
    length_out: int
    arrays: dict[str, NDArray[Any]]
    matrix: Float32 | None

    @staticmethod
    def fit(kind: str, seed: int, descriptors: Float32, length_out: int) -> Reducer:
        """Fit to the descriptors (M, G) of a map's images; only ``pca`` looks at them."""
        length_in = descriptors.shape[1]
        if length_in <= length_out:
            return Reducer(PADDED, seed, length_in, length_out, {}, None)
        if kind == PCA and len(descriptors) < length_out:
            _log.warning(
                "%d images cannot give %d principal components: '%s' is taken instead of '%s'",
                len(descriptors), length_out, ORTHOGONAL, PCA,
            )  # fmt: skip
            kind = ORTHOGONAL
        arrays = _fitted(kind, seed, descriptors, length_out)
        return Reducer(kind, seed, length_in, length_out, arrays, _matrix(kind, seed, length_in, length_out, arrays))

    @staticmethod
    def load(kind: str, seed: int, lengths: tuple[int, int], arrays: dict[str, NDArray[Any]]) -> Reducer:
        """The reducer that was stored; ``arrays`` are those of ``stored_arrays``. Raises MapError for wrong arrays."""
        if set(arrays) != set(_STORED.get(kind, ())):
            raise MapError(f"the reduction '{kind}' has other arrays than {', '.join(_STORED.get(kind, ())) or 'none'}")
        length_in, length_out = lengths
        if kind == SUBSET and np.any((arrays["coordinates"] < 0) | (arrays["coordinates"] >= length_in)):
            raise MapError(f"the reduction '{kind}' names one of more than {length_in} numbers")
        matrix = None if kind == PADDED else _matrix(kind, seed, length_in, length_out, arrays)
        return Reducer(kind, seed, length_in, length_out, arrays, matrix)

    @staticmethod
    def stored_arrays(kind: str, lengths: tuple[int, int]) -> dict[str, tuple[str, tuple[int | None, ...]]]:
        """Types and shapes of the arrays to store for a kind; other kinds are made from their seed."""
        length_in, length_out = lengths
        shapes: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "coordinates": ("<i4", (length_out,)),
            "mean": ("<f4", (length_in,)),
            "components": ("<f4", (length_out, length_in)),
        }
        return {name: shapes[name] for name in _STORED.get(kind, ())}

    def apply(self, descriptors: Float32) -> Float32:
        """Descriptors (..., D) of those (..., G) of images; not of unit length."""
        values = np.asarray(descriptors, np.float32)
        if values.shape[-1] != self.length_in:
            raise MapError(f"a descriptor of {values.shape[-1]} numbers was given where {self.length_in} are reduced")
        if self.kind == PADDED:
            padding = [(0, 0)] * (values.ndim - 1) + [(0, self.length_out - self.length_in)]
            return np.pad(values, padding)
        if self.kind == SUBSET:
            return np.asarray(values[..., self.arrays["coordinates"].astype(np.intp)])
        if self.kind == PCA:
            values = values - self.arrays["mean"]
        assert self.matrix is not None
        return np.asarray(values @ self.matrix.T, np.float32)

    @property
    def fingerprint(self) -> list[float]:
        """The reduction of a fixed descriptor: a checksum that the rounding of another processor does not change."""
        probe = np.random.default_rng(_PROBE_SEED).uniform(-1.0, 1.0, self.length_in).astype(np.float32)
        return [float(value) for value in self.apply(probe / np.linalg.norm(probe))]

    def has_fingerprint(self, known: list[float]) -> bool:
        """Whether this is the reducer that had the fingerprint."""
        own = np.array(self.fingerprint)
        return len(known) == len(own) and bool(np.abs(own - np.array(known, np.float64)).max() <= _MOST_DIFFERENT)

    @property
    def num_bytes(self) -> int:
        """Its bytes in memory."""
        return sum(one.nbytes for one in self.arrays.values()) + (
            0 if self.matrix is None or self.kind == PCA else self.matrix.nbytes
        )


def _fitted(kind: str, seed: int, descriptors: Float32, length_out: int) -> dict[str, NDArray[Any]]:
    """The arrays that the seed does not determine."""
    if kind == SUBSET:
        order = np.random.default_rng(seed).permutation(descriptors.shape[1])
        return {"coordinates": np.sort(order[:length_out]).astype(np.int32)}
    if kind == PCA:
        values = descriptors.astype(np.float64)
        mean = values.mean(axis=0)
        components = np.linalg.svd(values - mean, full_matrices=False)[2][:length_out]
        return {"mean": mean.astype(np.float32), "components": components.astype(np.float32)}
    return {}


def _matrix(kind: str, seed: int, length_in: int, length_out: int, arrays: dict[str, NDArray[Any]]) -> Float32 | None:
    """The matrix (D, G) of a kind that has one."""
    if kind == SUBSET:
        return None
    if kind == PCA:
        return np.asarray(arrays["components"], np.float32)
    gaussian = np.random.default_rng(seed).standard_normal((length_in, length_out))
    # Orthonormal columns, whose signs are chosen so that every LAPACK gives the same, and scaled to keep lengths.
    columns, upper = np.linalg.qr(gaussian)
    return np.asarray((columns * np.sign(np.diag(upper))).T * np.sqrt(length_in / length_out), np.float32)


_LARGEST = 127  # of 8 bits with sign


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
        view, keypoints = see_observed(image, points, np.flatnonzero(image.point_rows != NO_POINT))
        return ObservedPoints(view.point_rows, keypoints)


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
