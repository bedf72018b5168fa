"""Photos of cameras and phones: JPEG, PNG, WebP and HEIC. Headers are read before anything is decoded.

HEIC and HEIF, as phones write them, are read by libheif, which turns them upright, independent of their EXIF data.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import LARGEST_IMAGE_BYTES, read_bytes
from visloc_ros.core.types import Image
from visloc_ros.sources.image_header import ImageHeader, read_image_header
from visloc_ros.sources.panorama import refuse_named_panorama
from visloc_ros.sources.ros_images import MAX_SIDE, decode_compressed

if TYPE_CHECKING:
    import pi_heif

HEIC = "heic"
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_ERRORS = (OSError, ValueError, EOFError, SyntaxError, RuntimeError, IndexError, MemoryError)


def read_photo_header(data: bytes) -> ImageHeader:
    """The header of a photo; that of a HEIC has its size and no turns, since it is decoded upright.

    Raises SourceError as ``read_image_header`` does, and for what says that it is a panorama.
    """
    refuse_named_panorama(data)
    if not is_heif(data):
        return read_image_header(data)
    width, height = read_heif_size(data)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise SourceError(f"an image of {width}x{height} pixels is empty or beyond {MAX_SIDE}x{MAX_SIDE}")
    return ImageHeader(HEIC, width, height)


def decode_photo(header: ImageHeader, data: bytes, depth: BitDepth | None = None) -> Image:
    """Decode a photo with this header to uint8 grey (H, W) or RGB (H, W, 3), turned upright. Raises SourceError.

    ``depth`` is that of the images of its camera so far.
    """
    image = decode_heif(data) if header.format == HEIC else decode_compressed(header.format, data, depth=depth)
    if header.is_upright:
        return image
    return np.ascontiguousarray(np.rot90(np.fliplr(image) if header.is_mirrored else image, -header.clockwise_turns))


def read_photo(path: Path) -> Image:
    """The photo of a file as ``decode_photo`` gives it. Raises SourceError that names the file."""
    data = read_bytes(path, SourceError, LARGEST_IMAGE_BYTES)
    try:
        return decode_photo(read_photo_header(data), data)
    except SourceError as error:
        raise SourceError(f"cannot read {path}: {error}") from error


def is_heif(data: bytes) -> bool:
    """Whether data begin as a HEIF file does (ISO/IEC 23008-12)."""
    return data[4:8] == b"ftyp" and data[8:12] in _BRANDS


def read_heif_size(data: bytes) -> tuple[int, int]:
    """Width and height of the photo shown upright, without decoding it. Raises SourceError."""
    width, height = _open(data).size
    return int(width), int(height)


def read_heif_exif(data: bytes) -> bytes:
    """The EXIF data of a photo, empty where it has none. Raises SourceError."""
    return bytes(_open(data).info.get("exif") or b"")


def decode_heif(data: bytes) -> Image:
    """Decode a photo to uint8 RGB (H, W, 3), upright. Raises SourceError."""
    file = _open(data)
    try:
        pixels = np.asarray(file.to_pillow().convert("RGB"), dtype=np.uint8)
    except _ERRORS as error:
        raise SourceError(f"the HEIC image is damaged: {error}") from error
    return np.ascontiguousarray(pixels)


def _open(data: bytes) -> pi_heif.HeifFile:
    try:
        import pi_heif  # needed only for such photos
    except ModuleNotFoundError as error:
        raise SourceError("reading HEIC photos needs the Python package pi-heif: pip install pi-heif") from error
    try:
        return pi_heif.open_heif(data, convert_hdr_to_8bit=True)
    except _ERRORS as error:
        raise SourceError(f"the HEIC image is truncated or damaged: {error}") from error
