"""Colours of map points, from the small pictures of the images that see them; features are not read for that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import project
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
        rows = image.point_rows[image.point_rows != NO_POINT]
        pixels = project(image.camera, image.map_from_camera.inverse @ place.points[rows])
        rows, pixels = rows[np.isfinite(pixels).all(axis=1)], pixels[np.isfinite(pixels).all(axis=1)]
        pixels *= [width / image.camera.width, height / image.camera.height]
        x, y = np.clip(pixels.astype(int), 0, [width - 1, height - 1]).T
        np.add.at(sums, rows, picture[y, x])
        np.add.at(counts, rows, 1.0)
    colours = np.full((len(place.points), 3), GREY, np.uint8)
    known = counts > 0
    colours[known] = (sums[known] / counts[known, None]).round().astype(np.uint8)
    return colours
