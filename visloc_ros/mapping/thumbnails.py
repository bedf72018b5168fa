"""Small pictures of map images, for people and for map tracking."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2

from visloc_ros.core.map_layout import thumbnail_name
from visloc_ros.core.types import Image

_LARGEST_WIDTH = 320  # poses by pictures of 160 are off by a third more
_QUALITY = 50  # to match as well as 85, in half the bytes


def encode_thumbnail(image: Image) -> bytes:
    """Make a small JPEG of an image, (H, W) grey or (H, W, 3) RGB."""
    height, width = image.shape[:2]
    new_width = min(_LARGEST_WIDTH, width)
    size = (new_width, max(1, round(height * new_width / width)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    pixels = cv2.cvtColor(small, cv2.COLOR_RGB2BGR) if small.ndim == 3 else small
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(encoded)


def write_thumbnails(folder: Path, thumbnails: Mapping[str, bytes]) -> None:
    """Write thumbnails by image name, one file each; slashes of the names become double underscores."""
    folder.mkdir(exist_ok=True)
    for name, thumbnail in thumbnails.items():
        (folder / thumbnail_name(name)).write_bytes(thumbnail)
