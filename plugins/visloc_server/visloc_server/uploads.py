"""Uploaded images: checked before they are decoded, and decoded like photos in a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pycolmap

from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import camera_from_params, check_image_of_calibration
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.types import Frame
from visloc_ros.sources import open_source
from visloc_ros.sources.photos import decode_photo, read_photo_header

CameraOfSize = Callable[[int, int], pycolmap.Camera]
"""Gives the camera for an image width and height, in other processes too. Raises CalibrationError."""

MOST_PIXELS = 1 << 26  # 67 million: more than cameras of robots and phones have, a gigabyte while it is searched


def read_upload(data: bytes, camera_of: CameraOfSize | None = None, depth: BitDepth | None = None) -> Frame:
    """The frame of a JPEG, PNG or HEIC; ``camera_of`` gives the camera of the image as it is stored (HEIC: as shown).

    ``depth`` is that of the images of its camera so far. Without ``camera_of`` a photo is turned upright,
    and its focal length is that of its EXIF data, or a guess. Raises SourceError for what is no such image,
    CalibrationError for impossible intrinsics.
    """
    header = read_photo_header(data).as_stored
    if header.width * header.height > MOST_PIXELS:
        raise SourceError(f"an image of {header.width}x{header.height} pixels is too large: send a smaller one")
    if camera_of is not None:
        camera = camera_of(header.width, header.height)
        if (camera.width, camera.height) != (header.width, header.height):
            raise CalibrationError(
                f"camera is for images of {camera.width}x{camera.height} pixels, and this one has "
                f"{header.width}x{header.height}"
            )
        check_image_of_calibration(camera)
        image = decode_photo(header, data, depth)
        return Frame(0, image, camera, calibration=CameraCalibration(camera, CalibrationSource.GIVEN))
    with tempfile.TemporaryDirectory(prefix="visloc_upload_") as folder:
        (Path(folder) / f"image.{header.format}").write_bytes(data)
        try:
            return next(iter(open_source(Path(folder))))
        except SourceError as error:
            raise SourceError(str(error).replace(f"{folder}/", "").replace(folder, "image")) from None


def pinhole(fx: float, fy: float, cx: float, cy: float) -> CameraOfSize:
    """A camera without distortion. Raises CalibrationError."""
    if not min(fx, fy, cx, cy) > 0.0:
        raise CalibrationError("fx, fy, cx and cy are positive pixels")
    return partial(_pinhole_of_size, (fx, fy, cx, cy))


def _pinhole_of_size(params: Sequence[float], width: int, height: int) -> pycolmap.Camera:
    return camera_from_params("PINHOLE", width, height, params)


def camera_in_words(text: str) -> CameraOfSize:
    """A camera as a line of COLMAP's cameras.txt has it: model, width, height, parameters. Raises CalibrationError."""
    model, *words = text.replace(",", " ").split() or [""]
    try:
        width, height, *params = (float(word) for word in words)
    except ValueError as error:
        raise CalibrationError("camera is not 'MODEL WIDTH HEIGHT PARAMETERS...' as in COLMAP's cameras.txt") from error
    if not (width.is_integer() and height.is_integer()):
        raise CalibrationError(f"camera is for an image of {width:g}x{height:g} pixels")
    camera = camera_from_params(model, int(width), int(height), params)
    return partial(_of_any_size, camera)


def _of_any_size(camera: pycolmap.Camera, *_: int) -> pycolmap.Camera:
    return camera
