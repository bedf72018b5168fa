"""Focal lengths of photos by their EXIF data, where these are still of the image.

Programs that cut a photo, or make it smaller, keep what its camera wrote.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pycolmap
from PIL.Image import Exif

from visloc_ros.core.calibration import GUESSED_FOCAL_SIGMA, CalibrationSource, CameraCalibration, guess_calibration
from visloc_ros.core.camera import with_focal_length
from visloc_ros.sources.exif import EXIF_DIRECTORY, read_equivalent_focal_length, read_exif
from visloc_ros.sources.image_header import ImageHeader
from visloc_ros.sources.photos import HEIC

# Rounding of an equivalent focal length to millimetres, and cropping for stabilisation: some per cent.
EXIF_FOCAL_SIGMA = 0.04
FULL_FRAME_DIAGONAL_MM = 43.27  # reference of equivalent focal lengths (CIPA DC-008), as in COLMAP
_PER_LONGER_SIDE = 5.0 / 36.0, 2000.0 / 36.0  # what photo lenses have: 5 to 2000 mm on full frame
_SAME_SHAPE = 0.01  # of an image made smaller, whose sides are rounded; cut ones differ by more
_FOCAL_PLANE_RESOLUTION, _SIZE, _DIGITAL_ZOOM = 0xA20E, (0xA002, 0xA003), 0xA404
_LEAST_ZOOM = 1.01


class ExifFocalLength(NamedTuple):
    """A focal length in pixels, and its relative standard deviation."""

    pixels: float
    sigma: float


def guess_photo_calibration(
    image: Path, header: ImageHeader, by_name: pycolmap.Camera | None = None
) -> CameraCalibration:
    """Guess the camera of a photo shown upright by its EXIF data, else from names, else 1.2 times the longer side."""
    guess = guess_calibration(*header.upright_size)
    focal_length = read_focal_length(image, header)
    if focal_length is None:
        if by_name is None or (by_name.width, by_name.height) != header.upright_size:
            return guess
        return CameraCalibration(by_name, CalibrationSource.NAME, GUESSED_FOCAL_SIGMA)
    camera = with_focal_length(guess.camera, focal_length.pixels)
    camera.has_prior_focal_length = True
    return CameraCalibration(camera, CalibrationSource.EXIF, focal_length.sigma)


def read_focal_length(photo: Path, header: ImageHeader) -> ExifFocalLength | None:
    """The focal length of a photo; None where its EXIF data hold none that can be, or the image was cut since."""
    exif = read_exif(photo)
    tags = exif.get_ifd(EXIF_DIRECTORY)
    scale = _scale_since(tags.get(_SIZE[0]), tags.get(_SIZE[1]), header)
    pixels = None if scale is None else _in_pixels(photo, header, exif)
    if pixels is None or scale is None:
        return None
    if read_equivalent_focal_length(exif) is None and _FOCAL_PLANE_RESOLUTION in tags:
        pixels *= scale  # COLMAP takes that resolution for the image's
    zoom = _zoom(tags.get(_DIGITAL_ZOOM))
    shortest, longest = (share * max(header.width, header.height) for share in _PER_LONGER_SIDE)
    if not shortest <= pixels * math.sqrt(zoom) <= longest:
        return None
    # Some cameras count their digital zoom in, others do not.
    return ExifFocalLength(pixels * math.sqrt(zoom), math.hypot(EXIF_FOCAL_SIGMA, math.log(zoom) / 2.0))


def _in_pixels(photo: Path, header: ImageHeader, exif: Exif) -> float | None:
    """By COLMAP, which knows sensors of many cameras but no HEIC."""
    if header.format == HEIC:
        equivalent_mm = read_equivalent_focal_length(exif)
        return equivalent_mm and equivalent_mm / FULL_FRAME_DIAGONAL_MM * math.hypot(header.width, header.height)
    try:
        camera = pycolmap.infer_camera_from_image(photo)
    except ValueError:  # COLMAP decodes the image for it; a broken one is handled when it is read
        return None
    return camera.focal_length if camera.has_prior_focal_length else None


def _scale_since(width: object, height: object, header: ImageHeader) -> float | None:
    """Size of the image as share of the photo that the camera took; None where it was cut."""
    if not (isinstance(width, int) and isinstance(height, int) and min(width, height) > 0):
        return 1.0
    shorter, longer = sorted((width, height))  # some programs turn the image alone
    short, long = sorted((header.width, header.height))
    is_same_shape = abs(short * longer / (shorter * long) - 1.0) <= _SAME_SHAPE + 0.5 / short
    return long / longer if is_same_shape else None


def _zoom(ratio: object) -> float:
    """The digital zoom; 1 where there is none, or EXIF's fraction has a denominator of 0."""
    try:
        value = float(ratio)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 1.0
    return value if _LEAST_ZOOM < value < math.inf else 1.0
