"""Camera models as ``pycolmap.Camera``; the pixel convention is COLMAP's.

The centre of the top-left pixel is (0.5, 0.5). ROS and OpenCV call that point (0, 0): a principal point from
CameraInfo is shifted by half a pixel here, and nowhere else.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np
import pycolmap
from numpy.typing import ArrayLike, NDArray

from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.geometry import Array

_on_sigterm = signal.getsignal(signal.SIGTERM)  # not that of pycolmap, which Python does not know of: it prints a trace
if threading.current_thread() is threading.main_thread() and _on_sigterm is not None:
    signal.signal(signal.SIGTERM, _on_sigterm)

logger = logging.getLogger(__name__)

HALF_PIXEL = 0.5
WIDEST_PX = 1 << 20
LARGEST_PARAMETER = 1e7
"""Pixels of a focal length or principal point, far beyond a telescope's; distortion coefficients are smaller still."""

LEAST_SQUEEZE = 0.03
"""Of pixels that are not square: half of that of 16:15, the least in use; a calibration's fx and fy differ by less."""

_LENS_ERROR_PX = 0.1  # there and back through the camera model; beyond it the lens is not described

_MIDDLE = 0.15  # principal points of lenses lie closer to the middle, as share of half the size

_MODEL_OF_DISTORTION = {
    "": ("PINHOLE", 0),
    "none": ("PINHOLE", 0),
    "plumb_bob": ("OPENCV", 4),
    "radtan": ("OPENCV", 4),
    "radial-tangential": ("OPENCV", 4),
    "rational_polynomial": ("FULL_OPENCV", 8),
    "equidistant": ("OPENCV_FISHEYE", 4),
    "fisheye": ("OPENCV_FISHEYE", 4),
}

_ROTATABLE = (
    "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV",
    "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE", "SIMPLE_FISHEYE", "FISHEYE",
    "FOV", "SIMPLE_DIVISION", "DIVISION", "EUCM",
)  # fmt: skip


def camera_from_calibration(
    width: int, height: int, matrix: ArrayLike, distortion_model: str = "", distortion: Sequence[float] = ()
) -> pycolmap.Camera:
    """Make a camera from a ROS/OpenCV calibration: matrix K (3, 3) or (9,), distortion coefficients D.

    Raises CalibrationError when K is zero or not finite, the size is empty, or the model cannot be represented.
    """
    k = np.asarray(matrix, dtype=np.float64).reshape(3, 3)
    coefficients = np.asarray(distortion, dtype=np.float64)
    if width <= 0 or height <= 0:
        raise CalibrationError(f"the calibration is for an image of {width}x{height} pixels")
    if not np.all(np.isfinite(k)) or k[0, 0] <= 0 or k[1, 1] <= 0:
        raise CalibrationError(
            "the camera matrix K is zero or not finite: calibrate the camera, or give its intrinsics"
        )
    model, size = _colmap_model(distortion_model, coefficients)
    if np.any(coefficients[size:]):
        raise CalibrationError(
            f"COLMAP's {model} has no place for coefficients {size + 1} and beyond of this '{distortion_model}' "
            "calibration (thin prism, tilt): calibrate without them"
        )
    padded = np.zeros(size)
    padded[: min(size, len(coefficients))] = coefficients[:size]
    centre = [k[0, 2] + HALF_PIXEL, k[1, 2] + HALF_PIXEL]
    params = [k[0, 0], k[1, 1], *centre, *padded.tolist()]
    check_plausible_camera(width, height, params)
    return pycolmap.Camera(model=model, width=width, height=height, params=params)


def camera_from_params(model: str, width: int, height: int, params: Sequence[float]) -> pycolmap.Camera:
    """Make a camera of a COLMAP model by its name; the parameters are in COLMAP pixels. Raises CalibrationError."""
    if model not in pycolmap.CameraModelId.__members__ or model == "INVALID":
        raise CalibrationError(f"COLMAP has no camera model '{model}'")
    if min(width, height) <= 0:
        raise CalibrationError(f"the size {width}x{height} is not positive")
    is_finite = bool(np.all(np.isfinite(params)))
    if is_finite:
        check_plausible_camera(width, height, params)
    camera = pycolmap.Camera(model=model, width=width, height=height, params=list(params))
    if not (is_finite and camera.verify_params()):
        raise CalibrationError(f"{model} does not take the {len(params)} parameters {params}")
    focal_lengths = [params[index] for index in camera.focal_length_idxs()]
    if not focal_lengths:  # COLMAP's getters of a focal length would crash
        raise CalibrationError(f"{model} has no focal length: cut its panoramas into perspective images")
    if min(focal_lengths) <= 0:
        raise CalibrationError(f"the focal length {min(focal_lengths):g} is not positive")
    return camera


def check_plausible_camera(width: int, height: int, params: Sequence[float]) -> None:
    """Refuse sizes and parameters that no camera has. Raises CalibrationError."""
    if not (0 < width <= WIDEST_PX and 0 < height <= WIDEST_PX):
        raise CalibrationError(f"the calibration is for an image of {width}x{height} pixels")
    if not all(abs(value) <= LARGEST_PARAMETER for value in params):
        raise CalibrationError(f"the calibration holds {max(params, key=abs):g}, which is true of no camera")


def check_image_of_calibration(camera: pycolmap.Camera) -> None:
    """Refuse intrinsics of the same image at another size. Raises CalibrationError.

    Its principal point is as far from the middle, as share of the size, in both directions. A camera of a cropped image
    is for the caller to except. A principal point far from the middle otherwise may be right, as in one part of an
    image: a warning says what it means if it is not.
    """
    x, y = (camera.params[index] for index in camera.principal_point_idxs())
    columns, rows = 2.0 * x / camera.width, 2.0 * y / camera.height
    scale = (columns + rows) / 2.0
    if abs(columns - rows) < _MIDDLE and min(abs(columns - 1.0), abs(rows - 1.0)) > _MIDDLE:
        if scale < _MIDDLE:
            raise CalibrationError(
                f"the principal point ({x:g}, {y:g}) lies in the corner of its {camera.width}x{camera.height} pixels: "
                "give it in pixels, near the middle"
            )
        raise CalibrationError(
            f"the calibration says that it is for {camera.width}x{camera.height} pixels, but its principal point "
            f"({x:.0f}, {y:.0f}) is the middle of an image of about {camera.width * scale:.0f}x"
            f"{camera.height * scale:.0f}: give those of this size, and binning only with those of the full image"
        )
    if max(abs(columns - 1.0), abs(rows - 1.0)) > _MIDDLE:
        _warn_of_crop(camera.width, camera.height, float(x), float(y), float(camera.mean_focal_length()))


@lru_cache(maxsize=64)  # once for a camera
def _warn_of_crop(width: int, height: int, x: float, y: float, focal_length: float) -> None:
    tilt = math.degrees(math.atan(math.hypot(x - 0.5 * width, y - 0.5 * height) / focal_length))
    logger.warning(
        "the principal point (%.0f, %.0f) is far from the middle of its %dx%d pixels, as of an image of %.0fx%.0f: "
        "if these were cut out of the middle of such, poses are %.0f deg off; give the calibration of what is left",
        *(x, y, width, height, 2.0 * x, 2.0 * y, tilt),
    )


def _colmap_model(distortion_model: str, coefficients: NDArray[np.float64]) -> tuple[str, int]:
    if distortion_model not in _MODEL_OF_DISTORTION:
        known = ", ".join(name for name in _MODEL_OF_DISTORTION if name)
        raise CalibrationError(f"unknown distortion model '{distortion_model}'; known: {known}")
    if not np.all(np.isfinite(coefficients)):
        raise CalibrationError("the distortion coefficients are not finite")
    model, size = _MODEL_OF_DISTORTION[distortion_model]
    if model == "OPENCV_FISHEYE":
        return model, size
    if not np.any(coefficients):
        return "PINHOLE", 0
    if model == "OPENCV" and np.any(coefficients[4:]):
        return "FULL_OPENCV", 8  # a fifth coefficient (k3) does not fit COLMAP's OPENCV model
    return model, size


def crop_and_bin(camera: pycolmap.Camera, roi: tuple[int, int, int, int], binning: tuple[int, int]) -> pycolmap.Camera:
    """Camera of a region (x, y, width, height) of the full image, then binned by (x, y) as in CameraInfo (REP 104)."""
    x, y, width, height = roi
    bin_x, bin_y = max(1, binning[0]), max(1, binning[1])
    cropped = pycolmap.Camera(
        model=camera.model, width=width or camera.width, height=height or camera.height, params=camera.params.copy()
    )
    cropped.principal_point_x -= x
    cropped.principal_point_y -= y
    if (bin_x, bin_y) == (1, 1):
        return cropped
    return rescale(cropped, cropped.width // bin_x, cropped.height // bin_y)


def rescale(camera: pycolmap.Camera, width: int, height: int) -> pycolmap.Camera:
    """Camera of the same image resized to ``width`` x ``height`` pixels."""
    scaled = pycolmap.Camera(model=camera.model, width=camera.width, height=camera.height, params=camera.params.copy())
    scaled.rescale(width, height)
    return scaled


def rotate(camera: pycolmap.Camera, clockwise: bool) -> pycolmap.Camera | None:
    """Camera of the same image turned by a quarter; None where the model has no parameters for that (thin prism).

    A quarter turn takes an image point (x, y) at depth 1 to (-y, x) clockwise, to (y, -x) the other way.
    """
    if camera.model.name not in _ROTATABLE:
        return None
    turned = pycolmap.Camera(model=camera.model, width=camera.height, height=camera.width, params=camera.params.copy())
    x, y = camera.principal_point_x, camera.principal_point_y
    turned.principal_point_x, turned.principal_point_y = (camera.height - y, x) if clockwise else (y, camera.width - x)
    if len(camera.focal_length_idxs()) == 2:
        turned.focal_length_x, turned.focal_length_y = camera.focal_length_y, camera.focal_length_x
    if camera.model.name in ("OPENCV", "FULL_OPENCV"):
        p1, p2 = camera.params[6:8]
        turned.params[6:8] = (p2, -p1) if clockwise else (-p2, p1)  # the tangential distortion turns with the image
    return turned


def mirror(camera: pycolmap.Camera) -> pycolmap.Camera | None:
    """Camera of the same image mirrored left to right; None where the model has no parameters for that."""
    if camera.model.name not in _ROTATABLE:
        return None
    mirrored = pycolmap.Camera(camera.todict())
    mirrored.principal_point_x = camera.width - camera.principal_point_x
    if camera.model.name in ("OPENCV", "FULL_OPENCV"):
        mirrored.params[7] = -camera.params[7]
    return mirrored


def turn_upright(
    camera: pycolmap.Camera, width: int, height: int, clockwise_turns: int, is_mirrored: bool = False
) -> pycolmap.Camera:
    """The camera of an image of ``width`` x ``height`` stored pixels after ``clockwise_turns`` quarter turns.

    An image that ``is_mirrored`` is mirrored left to right before.

    ``camera`` is of the stored pixels, or of the turned image's size, and then stays as it is. Raises CalibrationError
    for a model that cannot be turned.
    """
    turned_size = (height, width) if clockwise_turns % 2 else (width, height)
    if (camera.width, camera.height) == turned_size != (width, height):
        return camera
    ways = [mirror] * is_mirrored + [partial(rotate, clockwise=True)] * clockwise_turns
    for way in ways:
        turned = way(camera)
        if turned is None:
            raise CalibrationError(f"a {camera.model.name} camera cannot be turned: write its images upright")
        camera = turned
    return camera


def with_focal_length(camera: pycolmap.Camera, focal_length: float) -> pycolmap.Camera:
    """The camera with another mean focal length in pixels; two of them keep their ratio."""
    ratio = focal_length / camera.mean_focal_length()
    changed = pycolmap.Camera(camera.todict())
    for index in camera.focal_length_idxs():
        changed.params[index] *= ratio
    return changed


def with_two_focal_lengths(camera: pycolmap.Camera) -> pycolmap.Camera | None:
    """The same camera by a model that has fx and fy; None where it has them already, or no model adds them."""
    model = {"SIMPLE_PINHOLE": "PINHOLE", "SIMPLE_RADIAL": "OPENCV", "RADIAL": "OPENCV"}.get(camera.model.name)
    if model is None:
        return None
    extra = camera.params[camera.extra_params_idxs()]
    focal_length = camera.mean_focal_length()
    params = [focal_length, focal_length, camera.principal_point_x, camera.principal_point_y, *extra]
    if model == "OPENCV":
        params += [0.0] * (4 - len(extra))
    return pycolmap.Camera(model=model, width=camera.width, height=camera.height, params=params)


def squeeze(camera: pycolmap.Camera, width: int, aspect: float) -> pycolmap.Camera:
    """The camera of the image stored with ``width``, its pixels ``aspect`` times as wide as high, from square ones.

    Raises CalibrationError for a model that has no place for two focal lengths.
    """
    squeezed = with_two_focal_lengths(camera) or pycolmap.Camera(camera.todict())
    if len(squeezed.focal_length_idxs()) != 2:
        raise CalibrationError(f"a {camera.model.name} camera has square pixels")
    squeezed.focal_length_x /= aspect
    squeezed.principal_point_x /= aspect
    squeezed.width = width
    return squeezed


def pixel_aspect(camera: pycolmap.Camera) -> float:
    """Width of a pixel as share of its height: fy / fx."""
    return float(camera.focal_length_y / camera.focal_length_x)


def has_squeezed_pixels(camera: pycolmap.Camera) -> bool:
    """Whether its pixels are clearly not square."""
    return bool(abs(np.log(pixel_aspect(camera))) > LEAST_SQUEEZE)


def guess_camera(width: int, height: int) -> pycolmap.Camera:
    """Camera for images without calibration: focal length 1.2 times the longer side."""
    focal = 1.2 * max(width, height)
    return pycolmap.Camera(
        model="SIMPLE_RADIAL", width=width, height=height, params=[focal, width / 2, height / 2, 0.0]
    )


def is_same_camera(one: pycolmap.Camera, other: pycolmap.Camera) -> bool:
    """Whether two cameras agree in model, image size and parameters."""
    if (one.model, one.width, one.height) != (other.model, other.width, other.height):
        return False
    return bool(np.array_equal(one.params, other.params) or np.allclose(one.params, other.params))


def check_image_size(
    camera: pycolmap.Camera, width: int, height: int, remedy: str = "give one of images of this size (--camera FILE)"
) -> None:
    """Refuse an image whose size is not that of its calibration; ``remedy`` is what its user can do.

    Raises CalibrationError.
    """
    if (camera.width, camera.height) != (width, height):
        raise CalibrationError(
            f"the image is {width}x{height} but the calibration is for {camera.width}x{camera.height}: {remedy}"
        )


def rays(camera: pycolmap.Camera, pixels: ArrayLike) -> Array:
    """Undistorted image-plane coordinates (N, 2) at depth 1 of pixels (N, 2); NaN where none leads back to its pixel.

    Those are pixels that see beyond 90 degrees, and those that the lens model does not describe: COLMAP's inverse then
    gives other rays.
    """
    seen = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
    found = np.asarray(camera.cam_from_img(seen))
    back = project(camera, np.column_stack([found, np.ones(len(found))]))
    with np.errstate(invalid="ignore"):
        is_described = np.abs(back - seen).max(axis=1, initial=0.0) < _LENS_ERROR_PX
    return np.where(is_described[:, None], found, np.nan)


def project(camera: pycolmap.Camera, points: ArrayLike) -> Array:
    """Pixels (N, 2) of points (N, 3) in the camera frame; points beside or behind the camera give NaN."""
    xyz = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    pixels = np.asarray(camera.img_from_cam(xyz), dtype=np.float64)
    pixels[xyz[:, 2] <= 0.0] = np.nan  # some models give a pixel to points behind the camera, too
    return pixels
