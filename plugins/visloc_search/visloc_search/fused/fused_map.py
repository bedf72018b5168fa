"""The fused map: a map reduced to points with one fused descriptor each, and the frames that show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import NO_POINT, Manifest, Map, MapImage
from visloc_ros.features.types import GlobalDescriptor
from visloc_ros.features.vlad import Vlad
from visloc_ros.localization.inverted_lists import Arrays
from visloc_search.fused.approximate_index import chosen_index, learn_index
from visloc_search.fused.config import IVF_PQ, FusedConfig
from visloc_search.fused.fusion import (
    Codebook,
    Float32,
    Fusion,
    ObservedPoints,
    PointSums,
    Reducer,
    local_descriptors,
    unit,
)
from visloc_search.fused.image_parts import ImageParts, sketch
from visloc_search.reduced_map.frames import Points, Rows, make_frame, map_of_frames
from visloc_search.reduced_map.provenance import extractor_of

_NOTHING = np.empty((0, 0), np.float32)


@dataclass(frozen=True, eq=False)
class ImageModel:
    """The describer of whole images: its name and checksum, the ``length`` of descriptors, and the codebook of VLAD."""

    info: ModelInfo
    length: int
    vlad_centroids: Float32


@dataclass(frozen=True, eq=False)
class FusedMap:
    """A reduced ``map`` whose frames have local descriptors, and the ``codebook`` of fused ones, point by point.

    ``first_row`` (M + 1,) and ``point_rows`` list the points that each image was averaged into, ``reduced`` (M, D) is
    its part. ``sketches`` (M, S) of their descriptors are kept where queries are converted, else empty. ``extractor``
    made the local descriptors; ``learned`` is what the index ``index`` has learned.
    """

    map: Map
    codebook: Codebook
    fusion: Fusion
    reduced: Float32
    first_row: NDArray[np.int64]
    point_rows: NDArray[np.int32]
    image_model: ImageModel
    sketches: NDArray[np.float16]
    extractor: ModelInfo
    index: str
    learned: Arrays
    config: FusedConfig

    @property
    def image_parts(self) -> ImageParts:
        """The parts of its images, and of queries, in descriptors."""
        return ImageParts(self.fusion, self.reduced, self.sketches)


@dataclass(frozen=True, eq=False)
class DescribedMap:
    """A map whose images each have a descriptor of the whole, (M, G), and what they see of its points."""

    map: Map
    global_descriptors: Float32
    image_model: ImageModel
    observed: Sequence[ObservedPoints]

    @staticmethod
    def of(map_: Map, describer: GlobalDescriptor, global_descriptors: Float32) -> DescribedMap:
        """The images in the order of their names, those left out that see nothing. Raises MapError where all do."""
        rows = sorted(range(len(map_.images)), key=lambda row: map_.images[row].name)
        observed = [ObservedPoints.of(map_.images[row], map_.points) for row in rows]
        kept = [(row, one) for row, one in zip(rows, observed, strict=True) if len(one.point_rows)]
        if not kept:
            raise MapError(f"no keypoint of the map '{map_.name}' shows one of its points: build it again")
        rows = [row for row, _ in kept]
        return DescribedMap(
            replace(map_, images=tuple(map_.images[row] for row in rows)),
            np.ascontiguousarray(global_descriptors[rows], np.float32),
            ImageModel(describer.info, global_descriptors.shape[1], _centroids(describer)),
            [one for _, one in kept],
        )

    def image_parts(self, config: FusedConfig) -> ImageParts:
        """The parts of images and queries in descriptors, rounded as stored."""
        length = self.map.images[0].features.descriptors.shape[1]
        fusion = Fusion(config.local_weight, Reducer.fit(config.reduce, config.seed, self.global_descriptors, length))
        point_rows, count = [one.point_rows for one in self.observed], len(self.map.points)
        reduced = smooth(fusion.reduce(self.global_descriptors), point_rows, count, config.smooth)
        sketches = sketch(self.global_descriptors) if config.convert else _NOTHING
        return ImageParts(fusion, _rounded(reduced), _rounded(sketches))

    def sums(self, reduced: Float32) -> PointSums:
        """Sums over all images with reduced descriptors (M, D)."""
        sums = PointSums(len(self.map.points), reduced.shape[1])
        for image, one, own in zip(self.map.images, self.observed, reduced, strict=True):
            sums.add(one, image.features.descriptors[one.keypoints], own)
        return sums


def _rounded(values: Float32) -> Float32:
    return values.astype(np.float16).astype(np.float32)


def _centroids(describer: GlobalDescriptor) -> Float32:
    return describer.centroids if isinstance(describer, Vlad) else _NOTHING


def fuse_map(described: DescribedMap, config: FusedConfig) -> FusedMap:
    """Give each point that an image sees its fused descriptor."""
    parts = described.image_parts(config)
    fusion, sums = parts.fusion, described.sums(parts.reduced)
    kept = np.flatnonzero(sums.counts > 0)
    codebook = Codebook.store(sums.means(fusion.lam, kept), config.storage)
    places = np.full(len(sums.counts), NO_POINT, np.int32)
    places[kept] = np.arange(len(kept))
    seen = [places[one.point_rows] for one in described.observed]
    kind = chosen_index(config.index, len(kept))
    first_row = np.cumsum([0, *(len(rows) for rows in seen)]).astype(np.int64)
    rows = np.concatenate(seen).astype(np.int32)
    points = Points(described.map.points[kept], local_descriptors(codebook, fusion, parts.reduced, first_row, rows))
    frames = [
        make_frame(image.name, image.map_from_camera, image.camera, own, points)
        for image, own in zip(described.map.images, seen, strict=True)
    ]
    return FusedMap(
        searched_map(described.map.manifest, frames, points, extractor_of(described.map.manifest)),
        codebook,
        fusion,
        parts.reduced,
        first_row,
        rows,
        described.image_model,
        parts.sketches.astype(np.float16),
        extractor_of(described.map.manifest),
        kind,
        learn_index(codebook, config.seed) if kind == IVF_PQ else {},
        config,
    )


def searched_map(manifest: Manifest, frames: Sequence[MapImage], points: Points, extractor: ModelInfo) -> Map:
    """The map of these frames, whose features are those of ``extractor``."""
    return map_of_frames(replace(manifest, models={**manifest.models, "extractor": extractor}), frames, points)


# Descriptors of images averaged over those that show the same points, so that those of one place are alike.
# Descriptors of images that overlap little are hardly more alike than those of two places. The mean over each point's
# own images would distinguish points of one place, but hardly places.


def smooth(reduced: Float32, point_rows: Sequence[Rows], num_points: int, steps: int) -> Float32:
    """Descriptors (M, D), each replaced ``steps`` times by the mean of all, weighed by how many points both show.

    Image m shows the points ``point_rows[m]``, each once. Every step ends with unit length.
    """
    counts = [len(rows) for rows in point_rows]
    shown = csr_array(
        (np.ones(sum(counts)), np.concatenate(point_rows), np.cumsum([0, *counts])), (len(counts), num_points)
    )
    shared = shown @ shown.sum(axis=0)
    values = reduced.astype(np.float64)
    for _ in range(steps):
        values = unit((shown @ (shown.T @ values)) / shared[:, None]).astype(np.float64)
    return np.asarray(values, np.float32)
