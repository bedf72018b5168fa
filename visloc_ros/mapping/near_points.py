"""Points that lie right before a camera: wrong matches, which hold a camera at a wrong place.

The nearer a point, the more a camera must move to see it elsewhere: one or two such points hold an image at a place
that hundreds of others contradict. At the camera itself, derivatives grow without bounds: in a model of 168 images, six
of 6,467 points kept bundle adjustment from taking a step, and images stayed 13 cm off.
"""

from __future__ import annotations

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array

_NEAR, _SHORT_TRACK = 0.1, 3  # of the middle of an image's distances to its points, for a point that few images see
_VERY_NEAR = 0.05  # for any point: wrong tracks of four images were found at 0.01


def are_near(distances: Array, seen_by: NDArray[np.integer], seen: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which points (P,) are right before a camera, by ``distances`` (O,) from camera to point of each observation.

    ``seen_by`` (O,) are rows, or ids, of the observations' images, ``seen`` (O,) rows of their points.
    """
    order = np.argsort(seen_by, kind="stable")
    ends = np.cumsum(np.bincount(seen_by))
    usual = np.array([np.median(own) if len(own) else np.inf for own in np.split(distances[order], ends[:-1])])
    tracks, share = np.bincount(seen), distances / usual[seen_by]
    found = (share < _VERY_NEAR) | ((share < _NEAR) & (tracks[seen] <= _SHORT_TRACK))
    return np.bincount(seen, weights=found) > 0


def delete_near_points(reconstruction: pycolmap.Reconstruction) -> int:
    """Delete the points of a reconstruction that are right before a camera; gives how many there were."""
    centres = {row: reconstruction.images[row].projection_center() for row in reconstruction.reg_image_ids()}
    point_ids = np.array(sorted(reconstruction.points3D), dtype=np.uint64)
    tracks = [[one.image_id for one in reconstruction.points3D[key].track.elements] for key in point_ids]
    seen_by = np.array([image for track in tracks for image in track], dtype=np.intp)
    seen = np.repeat(np.arange(len(tracks)), [len(track) for track in tracks])
    if not len(seen):
        return 0
    points = np.array([reconstruction.points3D[key].xyz for key in point_ids])
    distances = np.linalg.norm(points[seen] - np.array([centres[image] for image in seen_by]), axis=1)
    near = point_ids[are_near(distances, seen_by, seen)]
    for key in near:
        reconstruction.delete_point3D(int(key))
    return len(near)
