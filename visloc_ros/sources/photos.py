"""Photos of cameras and phones: JPEG, PNG and HEIC. Headers are read before anything is decoded."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.types import Image
from visloc_ros.sources.heif import decode_heif, is_heif, read_heif_size
from visloc_ros.sources.image_header import ImageHeader, read_image_header
from visloc_ros.sources.ros_images import MAX_SIDE, decode_compressed

HEIC = "heic"


def read_photo_header(data: bytes) -> ImageHeader:
    """The header of a photo; that of a HEIC has its size and no turns, since it is decoded upright.

    Raises SourceError as ``read_image_header`` does.
    """
    if not is_heif(data):
        return read_image_header(data)
    width, height = read_heif_size(data)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise SourceError(f"an image of {width}x{height} pixels is empty or beyond {MAX_SIDE}x{MAX_SIDE}")
    return ImageHeader(HEIC, width, height)


def decode_photo(header: ImageHeader, data: bytes) -> Image:
    """Decode a photo with this header to uint8 grey (H, W) or RGB (H, W, 3), turned upright. Raises SourceError."""
    image = decode_heif(data) if header.format == HEIC else decode_compressed(header.format, data)
    turns = header.clockwise_turns
    return np.ascontiguousarray(np.rot90(image, -turns)) if turns else image
