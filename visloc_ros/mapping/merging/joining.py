"""Joins two maps: moves the second into the frame of the first, and joins points that are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import is_same_camera
from visloc_ros.core.geometry import Sim3
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.mapping.collection import with_unique_names
from visloc_ros.mapping.merging.sightings import Sighting

Rows = NDArray[np.intp]

_NOTHING = np.empty((0, 0), np.float32)


def same_points(b: Map, sightings: Sequence[Sighting]) -> Rows:
    """For every point of map b the row of the point of map a that it is, or NO_POINT.

    Points are the same that most images show as one keypoint; no point equals two others, for then an image would see
    one point in two places.
    """
    same = np.full(len(b.points), NO_POINT, np.intp)
    taken: set[int] = set()
    for row_in_b, row_in_a in _pairs_by_votes(b, sightings):
        if same[row_in_b] == NO_POINT and row_in_a not in taken:
            same[row_in_b] = row_in_a
            taken.add(row_in_a)
    return same


def join(a: Map, b: Map, a_from_b: Sim3, same: Rows) -> Map:
    """The images and points of both maps in the frame of the first, with the first map's manifest.

    It has global descriptors where those of both are made by one network; VLAD's depend on a map's own codebook.
    """
    is_new = same == NO_POINT
    rows = np.where(is_new, len(a.points) + np.cumsum(is_new) - 1, same)
    rows = np.append(rows, NO_POINT).astype(np.int32)  # the last one is that of keypoints without a point
    named = with_unique_names(b.images, b.name, [image.name for image in a.images])
    moved = [_moved(image, a_from_b, rows) for image in named]
    pairs = zip(named, b.images, strict=True)
    pictures = {new.name: b.thumbnails[old.name] for new, old in pairs if old.name in b.thumbnails}
    return replace(
        a,
        images=tuple(_with_shared_cameras([*a.images, *moved])),
        points=np.concatenate([a.points, a_from_b @ b.points[is_new]]),
        global_descriptors=_joined_descriptors(a, b),
        vlad_centroids=_NOTHING,
        thumbnails={**a.thumbnails, **pictures},
    )


def _joined_descriptors(a: Map, b: Map) -> NDArray[np.float32]:
    is_same = a.manifest.models.get("global") == b.manifest.models.get("global")
    of_networks = not a.vlad_centroids.size and not b.vlad_centroids.size
    if not (is_same and of_networks and a.global_descriptors.size and b.global_descriptors.size):
        return _NOTHING
    return np.concatenate([a.global_descriptors, b.global_descriptors])


def _pairs_by_votes(b: Map, sightings: Sequence[Sighting]) -> list[tuple[int, int]]:
    """Rows in b and in a of the points that an image shows as one keypoint, those that most images show first."""
    pairs = [
        np.stack([b.images[sighting.row].point_rows[sighting.keypoint_rows], sighting.point_rows], axis=1)
        for sighting in sightings
    ]
    every = np.concatenate([np.empty((0, 2), np.intp), *pairs])
    distinct, votes = np.unique(every[every[:, 0] != NO_POINT], axis=0, return_counts=True)
    return [(int(in_b), int(in_a)) for in_b, in_a in distinct[np.argsort(-votes, kind="stable")]]


def _moved(image: MapImage, a_from_b: Sim3, rows: NDArray[np.int32]) -> MapImage:
    pose = a_from_b.apply_to_pose(image.map_from_camera)
    return replace(image, map_from_camera=pose, point_rows=rows[image.point_rows])


def _with_shared_cameras(images: Sequence[MapImage]) -> list[MapImage]:
    """Images with equal cameras share the object, by which a model identifies cameras."""
    cameras: list[pycolmap.Camera] = []
    shared = []
    for image in images:
        known = next((camera for camera in cameras if is_same_camera(camera, image.camera)), None)
        if known is None:
            cameras.append(known := image.camera)
        shared.append(replace(image, camera=known))
    return shared
