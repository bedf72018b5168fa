"""A map without the points and images that are gone, and the images that it can do without."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.map import NO_POINT, Map
from visloc_ros.core.map_image import MapImage

_LEAST_POINTS = 15  # of an image; with fewer it is of no use to a search
_LEAST_TRACK = 2


@dataclass(frozen=True, eq=False)
class Kept:
    """A map that was thinned out, and the rows of points (P,) and images (M,) that it keeps of the former one."""

    map: Map
    points: NDArray[np.intp]
    images: NDArray[np.intp]

    def of(self, earlier: Kept) -> Kept:
        """The same, by the rows of the map before an earlier thinning."""
        return Kept(self.map, earlier.points[self.points], earlier.images[self.images])


def thin(map_: Map, gone_points: NDArray[np.bool_], gone_images: NDArray[np.bool_]) -> Kept:
    """The map without points (P,) and images (M,) that are gone, what only these show, and images left without points.

    Keypoints whose point is gone go, too.
    """
    has_gone, is_gone = gone_points.copy(), gone_images.copy()
    while True:
        rows = [image.point_rows[image.point_rows != NO_POINT] for image in map_.images]
        left = [seen[~has_gone[seen]] for seen in rows]
        is_blind = np.array([len(seen) < _LEAST_POINTS for seen in left], bool) & ~is_gone
        is_gone |= is_blind
        tracks = np.bincount(
            np.concatenate(
                [np.empty(0, np.intp), *(seen for seen, gone in zip(left, is_gone, strict=True) if not gone)]
            ),
            minlength=len(map_.points),
        )
        lost = (tracks < _LEAST_TRACK) & ~has_gone
        has_gone |= lost
        if not is_blind.any() and not lost.any():
            break
    points, images = np.flatnonzero(~has_gone), np.flatnonzero(~is_gone)
    return Kept(_restricted(map_, points, images), points, images)


def _restricted(map_: Map, points: NDArray[np.intp], images: NDArray[np.intp]) -> Map:
    new_rows = np.full(len(map_.points) + 1, NO_POINT, np.int32)  # the last one, which NO_POINT finds, stays
    new_rows[points] = np.arange(len(points), dtype=np.int32)
    return replace(
        map_,
        images=tuple(_without(map_.images[row], new_rows) for row in images),
        points=map_.points[points],
        global_descriptors=map_.global_descriptors[images],
    )


def _without(image: MapImage, new_rows: NDArray[np.int32]) -> MapImage:
    """The image without the keypoints whose points are gone; those that never had one stay."""
    rows = new_rows[image.point_rows]
    kept = np.flatnonzero((rows != NO_POINT) | (image.point_rows == NO_POINT))
    return MapImage(image.name, image.map_from_camera, image.camera, image.features.take(kept), rows[kept])


def dispensable(point_rows: list[NDArray[np.int32]], presence: Array, count: int) -> NDArray[np.bool_]:
    """Which of the images, by the rows of the points that each shows, the map can best do without: ``count`` of them.

    An image is worth the points that it shows, each by its expected ``presence`` (P,) and shared among all images that
    show it; one image after the other goes, the least worth first.
    """
    seen = [rows[rows != NO_POINT] for rows in point_rows]
    tracks = np.bincount(np.concatenate([np.empty(0, np.intp), *seen]), minlength=len(presence)).astype(np.float64)
    is_left_out = np.zeros(len(seen), bool)
    for _ in range(min(count, len(seen))):
        worth = [
            np.inf if out else float((presence[rows] / tracks[rows]).sum())
            for rows, out in zip(seen, is_left_out, strict=True)
        ]
        least = int(np.argmin(worth))
        is_left_out[least] = True
        tracks[seen[least]] -= 1.0
    return is_left_out
