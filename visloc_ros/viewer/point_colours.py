"""Colours of map points, from the small pictures of the images that see them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import NO_POINT, Map
from visloc_ros.sources.ros_images import decode_compressed

GREY = 150


def point_colours(place: Map) -> NDArray[np.uint8]:
    """Mean colour (P, 3) of each map point where images see it; grey where none of these has a thumbnail."""
    sums, counts = np.zeros((len(place.points), 3)), np.zeros(len(place.points))
    for image in place.images:
        if image.name not in place.thumbnails:
            continue
        picture = decode_compressed("jpeg", place.thumbnails[image.name])
        picture = np.broadcast_to(picture[..., None], (*picture.shape, 3)) if picture.ndim == 2 else picture
        height, width = picture.shape[:2]
        seen = image.point_rows != NO_POINT
        pixels = image.features.keypoints[seen] * [width / image.camera.width, height / image.camera.height]
        x, y = np.clip(pixels.astype(int), 0, [width - 1, height - 1]).T
        np.add.at(sums, image.point_rows[seen], picture[y, x])
        np.add.at(counts, image.point_rows[seen], 1.0)
    colours = np.full((len(place.points), 3), GREY, np.uint8)
    known = counts > 0
    colours[known] = (sums[known] / counts[known, None]).round().astype(np.uint8)
    return colours
