"""Thins a map out to what localization uses: accurate points, spread over each image, enough for every image.

The points are chosen greedily, as in the minimal scene descriptions of Cao and Snavely (CVPR 2014): each image demands
a number of points, and the next point is the one of most use to images with an open demand, where a second point in the
same part of an image counts half, a third one a third. Unlike there, the gain of a point is the mean use of its
observations, weighed by the point's reprojection error: the space goes to descriptors, one for each image that sees the
point. The sum over images would prefer the longest tracks, which crowd where most images look and leave the other
images, and the borders of each, without points. Observations that no image demands are dropped as well.
"""

from __future__ import annotations

import bisect
import heapq
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.colmap_rigs import copy_rigs
from visloc_ros.core.geometry import Array
from visloc_ros.core.map import LocalFeatures
from visloc_ros.core.on_demand import OnDemand
from visloc_ros.mapping.config import SparsificationConfig

_log = logging.getLogger(__name__)

# Measured on maps with ALIKED and VLAD: descriptors packed as in feature files; the space of a keypoint beside its
# descriptor, in that file and in the COLMAP model with its share of a point; that of an image beside its keypoints.
_BYTES_PER_VALUE = 1.08
_KEYPOINT_BYTES = 55.0
_IMAGE_BYTES = 1500.0

_GRID = 4
_SHORTEST_TRACK = 2

Rows = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Observations:
    """Keypoints that have a point, as parallel arrays (O,): rows of image, keypoint and point, and ``parts``.

    A part is a cell of the grid over an image, numbered through all images. ``point_errors`` (P,) are the points' mean
    reprojection errors in pixels.
    """

    images: Rows
    keypoints: Rows
    points: Rows
    parts: Rows
    point_errors: Array

    def __len__(self) -> int:
        return len(self.images)


def sparsify(
    reconstruction: pycolmap.Reconstruction,
    features: Mapping[str, LocalFeatures],
    global_length: int,
    config: SparsificationConfig,
    finished: Collection[str] = (),
) -> tuple[pycolmap.Reconstruction, Mapping[str, LocalFeatures]]:
    """Thin out a reconstruction and the features of its registered images, whose rows stay aligned.

    Features are read only when they are asked for, and not kept.

    Poses, cameras and positions of points stay as they are; keypoints without a point are dropped, others only as far
    as the target requires. ``global_length`` is that of the global descriptor, which takes its part of the target. With
    a target of 0 everything is kept, and always all that images named in ``finished`` observe.
    """
    image_ids = sorted(reconstruction.reg_image_ids())
    names = [reconstruction.images[image_id].name for image_id in image_ids]
    if config.target_kb == 0:
        return reconstruction, OnDemand(names, features.__getitem__)
    observations = list_observations(reconstruction, image_ids)
    affordable = affordable_keypoints(features[names[0]].descriptors.shape[1], global_length, config.target_kb)
    counts = np.bincount(observations.images, minlength=len(image_ids))
    is_finished = np.array([name in finished for name in names])[observations.images]
    kept = choose_observations(observations, max(even_out(counts, affordable), config.min_keypoints), is_finished)
    _log.info("%d of %d observations are kept", len(kept), len(observations))
    rows = _rows_by_image(observations, kept, len(image_ids))
    sparse = _rebuild(reconstruction, dict(zip(image_ids, rows, strict=True)))
    own = dict(zip(names, rows, strict=True))
    return sparse, OnDemand(names, lambda name: features[name].take(own[name]))


def affordable_keypoints(length: int, global_length: int, target_kb: float) -> float:
    """How many keypoints with descriptors of this length, each with its point, an image may have on average."""
    image_bytes = _IMAGE_BYTES + _BYTES_PER_VALUE * global_length
    return max(1e3 * target_kb - image_bytes, 0.0) / (_KEYPOINT_BYTES + _BYTES_PER_VALUE * length)


def even_out(counts: NDArray[np.integer], mean: float) -> int:
    """The highest limit to these counts with which they are at most ``mean`` on average."""
    limits = range(int(counts.max(initial=0)) + 1)
    return bisect.bisect_right(limits, mean, key=lambda limit: float(np.minimum(counts, limit).mean())) - 1


def list_observations(reconstruction: pycolmap.Reconstruction, image_ids: Sequence[int]) -> Observations:
    """The observations of these images, in this order; point rows are places among the sorted ids of points."""
    reconstruction.update_point_3d_errors()
    point_ids = np.array(sorted(reconstruction.points3D), dtype=np.uint64)
    errors = np.array([reconstruction.points3D[point_id].error for point_id in point_ids], dtype=np.float64)
    images, keypoints, points, parts = [], [], [], []
    for row, image_id in enumerate(image_ids):
        image = reconstruction.images[image_id]
        seen = image.get_observation_points2D()
        camera = reconstruction.cameras[image.camera_id]
        images.append(np.full(len(seen), row))
        keypoints.append(np.array(image.get_observation_point2D_idxs()))
        points.append(np.searchsorted(point_ids, np.array([point.point3D_id for point in seen], dtype=np.uint64)))
        parts.append(row * _GRID**2 + _cells(_pixels(seen), camera.width, camera.height))
    return Observations(_joined(images), _joined(keypoints), _joined(points), _joined(parts), errors)


def choose_observations(observations: Observations, demand: int, is_chosen: NDArray[np.bool_] | None = None) -> Rows:
    """Rows (K,) of the observations to keep so that every image has ``demand`` of them where it can.

    Those that are ``is_chosen`` (O,) already are among them. A point that is kept has at least two observations, so
    that an image may get a few more than its demand.
    """
    is_open = np.ones(len(observations), bool) if is_chosen is None else ~is_chosen
    tracks = [rows[is_open[rows]] for rows in _group(observations.points, len(observations.point_errors))]
    weights = accuracy_weights(observations.point_errors)
    need = _Need(observations, demand)
    need.count(np.flatnonzero(~is_open))
    # Gains only ever fall, so a point whose gain is out of date can wait in the queue at that gain.
    queue = [(-weights[row] * need.gain(track), row) for row, track in enumerate(tracks)]
    heapq.heapify(queue)
    kept = [np.flatnonzero(~is_open)]
    while queue:
        _, row = heapq.heappop(queue)
        gain = weights[row] * need.gain(tracks[row])
        if gain <= 0.0:
            continue
        if queue and gain < -queue[0][0]:
            heapq.heappush(queue, (-gain, row))
            continue
        kept.append(need.serve(tracks[row]))
    return np.sort(np.concatenate(kept))


def accuracy_weights(errors: Array) -> Array:
    """Weights of points by their reprojection errors: half at the median error, far less beyond it."""
    typical = max(float(np.median(errors)), 1e-6) if len(errors) else 1.0
    return np.asarray(1.0 / (1.0 + np.square(errors / typical)))


class _Need:
    """The open demands of images, and the points given to each part of them."""

    def __init__(self, observations: Observations, demand: int) -> None:
        self._images, self._parts = observations.images, observations.parts
        self._missing = np.full(int(self._images.max(initial=-1)) + 1, demand)
        self._given = np.zeros(int(self._parts.max(initial=-1)) + 1)

    def gain(self, track: Rows) -> float:
        """The mean value of these observations of a point now."""
        short = self._missing[self._images[track]] > 0
        return float(np.sum(short / (1.0 + self._given[self._parts[track]]))) / max(len(track), 1)

    def serve(self, track: Rows) -> Rows:
        """Take a point: gives the observations kept, those of images with an open demand, but at least two."""
        missing = self._missing[self._images[track]]
        count = max(_SHORTEST_TRACK, int(np.sum(missing > 0)))
        taken = track[np.argsort(-missing, kind="stable")[:count]]
        self.count(taken)
        return taken

    def count(self, taken: Rows) -> None:
        """Count observations that are kept."""
        np.subtract.at(self._missing, self._images[taken], 1)
        np.add.at(self._given, self._parts[taken], 1.0)


def _cells(pixels: Array, width: int, height: int) -> Rows:
    cells = np.clip((pixels * _GRID / [width, height]).astype(np.intp), 0, _GRID - 1)
    return cells[:, 1] * _GRID + cells[:, 0]


def _joined(arrays: Sequence[NDArray[np.integer]]) -> Rows:
    return np.concatenate(arrays).astype(np.intp)


def _pixels(points2d: Iterable[pycolmap.Point2D]) -> Array:
    return np.array([point.xy for point in points2d], dtype=np.float64).reshape(-1, 2)


def _group(labels: Rows, count: int) -> list[Rows]:
    """Places of each of ``count`` labels."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.searchsorted(labels[order], np.arange(1, count)))[:count]


def _rows_by_image(observations: Observations, kept: Rows, count: int) -> list[Rows]:
    keypoints = observations.keypoints[kept]
    return [np.sort(keypoints[places]) for places in _group(observations.images[kept], count)]


def _rebuild(reconstruction: pycolmap.Reconstruction, rows: Mapping[int, Rows]) -> pycolmap.Reconstruction:
    """The reconstruction with these keypoint rows of each image and the points that they see."""
    sparse = pycolmap.Reconstruction()
    copy_rigs(reconstruction, sparse, rows.keys())
    tracks: dict[int, list[pycolmap.TrackElement]] = {}
    for image_id, kept in rows.items():
        image = reconstruction.images[image_id]
        every = image.points2D
        points2d = [every[row] for row in kept]
        copy = pycolmap.Image(
            name=image.name, keypoints=_pixels(points2d), camera_id=image.camera_id, image_id=image_id
        )
        copy.frame_id = image.frame_id
        sparse.add_image(copy)
        for place, point2d in enumerate(points2d):
            tracks.setdefault(point2d.point3D_id, []).append(pycolmap.TrackElement(image_id, place))
    for point_id, elements in tracks.items():
        point = reconstruction.points3D[point_id]
        sparse.add_point3D(point.xyz, pycolmap.Track(elements), point.color)
    sparse.update_point_3d_errors()
    return sparse
