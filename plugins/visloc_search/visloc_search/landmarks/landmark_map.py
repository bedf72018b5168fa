"""The landmark map: a map reduced to labelled points and the frames that show them.

It is a map like others: its images are the virtual reference frames of the landmarks and frames around them, their
features the projections of points. After PRAM (Xue et al. 2024, arXiv 2404.07785).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_search.landmarks.clustering import canonical_order
from visloc_search.landmarks.config import LandmarkConfig
from visloc_search.landmarks.tokens import BACKGROUND, unit_rows
from visloc_search.landmarks.virtual_frames import choose_virtual_frames, sparsify
from visloc_search.reduced_map.frames import (
    Observations,
    Points,
    View,
    make_frame,
    map_of_frames,
    see_observed,
)


def mean_descriptors(map_: Map, point_rows: NDArray[np.integer]) -> NDArray[np.float16]:
    """Descriptors (K, D) of points by row (K,): of each the mean of its observations, of unit length.

    Each point has to be seen by an image. PRAM takes the medoid, with which fewer images were found.
    """
    observations = Observations.of(map_)
    places = np.full(len(map_.points), -1)
    places[point_rows] = np.arange(len(point_rows))
    seen = places[observations.points]
    bounds = np.searchsorted(observations.images, np.arange(len(map_.images) + 1))
    parts = []
    for image, (first, last) in zip(map_.images, pairwise(bounds), strict=True):
        keypoints = observations.keypoints[first:last][seen[first:last] >= 0]
        parts.append(image.features.descriptors[keypoints])
    seen = seen[seen >= 0]
    observed = np.concatenate(parts)[np.argsort(seen, kind="stable")]  # point by point
    ends = np.cumsum(np.bincount(seen, minlength=len(point_rows)))
    sums = np.add.reduceat(unit_rows(observed), np.concatenate([[0], ends[:-1]]), axis=0)
    return unit_rows(sums).astype(np.float16)


_SCORE_PER_ERROR, _LARGEST_DIVISOR = 5.0, 20.0  # the score of a point is 1 to 1/20, at 0.2 px to 4 px of error


@dataclass(frozen=True, eq=False)
class PointTable(Points):
    """Points of a map with the landmark (P,) and the mean reprojection error (P,) [px] of each."""

    labels: NDArray[np.int32]
    errors: NDArray[np.float32]

    @property
    def scores(self) -> NDArray[np.float32]:
        """Scores (P,) as of keypoints: the smaller the reprojection error, the higher."""
        return np.asarray(1.0 / np.clip(_SCORE_PER_ERROR * self.errors, 1.0, _LARGEST_DIVISOR), np.float32)


@dataclass(frozen=True, eq=False)
class LandmarkMap:
    """A reduced ``map``, the table of its ``points``, and the row of the frame (k,) that is matched for each landmark.

    Landmark ``n`` is label ``n``, from 1 on; its frame is ``frame_rows[n - 1]``.
    """

    map: Map
    points: PointTable
    frame_rows: NDArray[np.int32]
    config: LandmarkConfig

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        frames: Sequence[MapImage],
        points: PointTable,
        frame_rows: NDArray[np.int32],
        config: LandmarkConfig,
    ) -> LandmarkMap:
        """Make one from the frames and points that a reduced map keeps."""
        map_ = replace(map_of_frames(manifest, frames, points), point_labels=points.labels)
        return cls(map_, points, frame_rows, config)

    @property
    def labels(self) -> NDArray[np.int32]:
        """Landmark (P,) of each point; points of no landmark are not in the map."""
        return self.points.labels

    @property
    def num_landmarks(self) -> int:
        """How many landmarks there are."""
        return len(self.frame_rows)


def reduce_map(map_: Map, labels: NDArray[np.int32], config: LandmarkConfig) -> LandmarkMap:
    """Reduce a map to points of landmarks, by the labels (P,) of its points, in whatever order. Raises MapError."""
    images = sorted(map_.images, key=lambda image: image.name)
    order = canonical_order(map_.points)
    views, errors = _see_labelled(images, map_.points, labels)
    virtual = choose_virtual_frames([view.point_rows for view in views], labels)
    kept = sparsify(views, map_.points, virtual, config.thinning_radius)
    points = order[np.isin(order, kept.points)]
    descriptors = mean_descriptors(replace(map_, images=tuple(images)), points)
    table = PointTable(map_.points[points], descriptors, labels[points], errors[points])
    frames = _frames(images, views, kept.views, points, table)
    frame_rows = np.searchsorted(kept.views, virtual).astype(np.int32)
    return LandmarkMap.of(map_.manifest, frames, table, frame_rows, config)


def _frames(
    images: Sequence[MapImage], views: Sequence[View], kept: Sequence[int], points: NDArray[np.intp], table: PointTable
) -> list[MapImage]:
    """The frames that are kept, each with all of the kept points that it sees.

    Also points that an earlier frame shows: only common points relate two frames of one place.
    """
    places = np.full(int(points.max()) + 1, NO_POINT, np.int32)
    places[points] = np.arange(len(points))
    frames = []
    for row in kept:
        rows = places[views[row].point_rows[np.isin(views[row].point_rows, points)]]
        frames.append(make_frame(images[row].name, views[row].map_from_camera, views[row].camera, rows, table))
    return frames


def _see_labelled(
    images: Sequence[MapImage], points: Array, labels: NDArray[np.int32]
) -> tuple[list[View], NDArray[np.float32]]:
    """The images' views of the points of landmarks, and the mean reprojection errors (P,) of these in pixels."""
    views, totals, counts = [], np.zeros(len(points)), np.zeros(len(points))
    for image in images:
        seen = np.flatnonzero((image.point_rows != NO_POINT) & (labels[image.point_rows] != BACKGROUND))
        view, keypoints = see_observed(image, points, seen)
        totals[view.point_rows] += np.linalg.norm(view.pixels - image.features.keypoints[keypoints], axis=1)
        counts[view.point_rows] += 1.0
        views.append(view)
    return views, (totals / np.maximum(counts, 1.0)).astype(np.float32)
