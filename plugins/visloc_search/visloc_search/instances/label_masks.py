"""Instance masks of map images, made of the map itself: its points' instances, grown over superpixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.core.types import Image
from visloc_search.instances.config import NO_INSTANCE

Mask = NDArray[np.uint16]

_SUPERPIXELS = 600
_COMPACTNESS = 10.0  # of superpixels: the library's default, for colours in CIELAB
_REACH = 0.08  # of the image's longer side: a mask ends this far from the points that it is made of


def instance_mask(image: MapImage, picture: Image, point_labels: NDArray[np.int32]) -> Mask:
    """Instances (H, W) of a small picture (H, W, 3) of a map image; NO_INSTANCE where no point is near.

    A superpixel takes the instance that most of its pixels are nearest to a point of, and a point's own counts most.
    """
    from skimage.segmentation import slic  # takes 0.5 s, so it is imported only when needed

    height, width = picture.shape[:2]
    pixels, labels = _seeds(image, (width, height), point_labels)
    if not len(labels):
        return np.full((height, width), NO_INSTANCE, np.uint16)
    nearest = _nearest_labels(pixels, labels, (width, height))
    parts = slic(picture, _SUPERPIXELS, _COMPACTNESS, start_label=0, channel_axis=-1)
    votes = np.zeros((parts.max() + 1, int(labels.max()) + 1))
    np.add.at(votes, (parts.ravel(), nearest.ravel()), 1.0)
    own = parts.size / len(votes)  # a point counts as much as a whole superpixel
    np.add.at(votes, (parts[pixels[:, 1], pixels[:, 0]], labels), own)
    return np.asarray(votes.argmax(axis=1)[parts], np.uint16)


def picture_of(map_: Map, image: MapImage) -> Image | None:
    """The small picture (H, W, 3) of a map image, RGB; None where the map has none, or a damaged one."""
    encoded = map_.thumbnails.get(image.name)
    if encoded is None:
        return None
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    return None if decoded is None else np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))


def _seeds(
    image: MapImage, size: tuple[int, int], point_labels: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Pixels (N, 2) of a picture of this size in which points with an instance are seen, and their instances (N,)."""
    seen = np.flatnonzero(image.point_rows != NO_POINT)
    labels = point_labels[image.point_rows[seen]]
    seen, labels = seen[labels != NO_INSTANCE], labels[labels != NO_INSTANCE]
    scale = np.array(size) / [image.camera.width, image.camera.height]
    pixels = np.floor(image.features.keypoints[seen] * scale).astype(np.intp)
    return np.clip(pixels, 0, np.array(size) - 1), labels


def _nearest_labels(pixels: NDArray[np.intp], labels: NDArray[np.int32], size: tuple[int, int]) -> NDArray[np.int32]:
    """Instance (H, W) of the seed nearest to each pixel; NO_INSTANCE beyond the reach of all."""
    from scipy.ndimage import distance_transform_edt  # takes 0.2 s, so it is imported only when needed

    seeds = np.zeros(size[::-1], np.int32)
    seeds[pixels[:, 1], pixels[:, 0]] = labels
    distances, (rows, columns) = distance_transform_edt(seeds == NO_INSTANCE, return_indices=True)
    return np.where(distances <= _REACH * max(size), seeds[rows, columns], NO_INSTANCE)
