"""EXIF data of photos, JPEG, PNG or HEIC: only the header of a file is read."""

from __future__ import annotations

import logging
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import LARGEST_IMAGE_BYTES, read_bytes
from visloc_ros.sources.heif import is_heif, read_heif_exif

logger = logging.getLogger(__name__)

_MAKER, _MODEL = 0x010F, 0x0110
_EXIF_DIRECTORY, _EQUIVALENT_FOCAL_LENGTH = 0x8769, 0xA405
_HEAD_BYTES = 16
_ERRORS = (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError, SourceError)


def read_exif(path: Path) -> Image.Exif:
    """EXIF data of a photo, empty where none can be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if is_heif(head):
            exif = Image.Exif()
            exif.load(read_heif_exif(read_bytes(path, SourceError, LARGEST_IMAGE_BYTES)))
            return exif
        with Image.open(path) as image:
            return image.getexif()
    except _ERRORS as error:
        logger.debug("no EXIF data in %s: %s", path, error)
        return Image.Exif()


def read_maker(exif: Image.Exif) -> str:
    """Maker and model of the camera on one line, empty where they are missing."""
    return " ".join(f"{exif.get(_MAKER, '')} {exif.get(_MODEL, '')}".replace("\0", " ")[:100].split())


def read_equivalent_focal_length(exif: Image.Exif) -> float | None:
    """Equivalent focal length in millimetres on full frame (36 x 24 mm), or None where it is missing."""
    value = exif.get_ifd(_EXIF_DIRECTORY).get(_EQUIVALENT_FOCAL_LENGTH)
    return float(value) if isinstance(value, int) and value > 0 else None
