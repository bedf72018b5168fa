"""Camera models from the fields of CameraInfo, and back.

Messages of ROS call the centre of the top-left pixel (0, 0), COLMAP (0.5, 0.5):
``core.camera`` adds the half pixel on the way in, ``camera_info_fields`` takes it off on the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pycolmap
from numpy.typing import ArrayLike

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import HALF_PIXEL, camera_from_calibration, check_image_of_calibration, crop_and_bin
from visloc_ros.core.errors import CalibrationError
from visloc_ros.sources.rectification import is_rectified_by_name, without_distortion

FULL_IMAGE = (0, 0, 0, 0)
NO_BINNING = (0, 0)
_ROS_MODELS = {
    **dict.fromkeys(("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"), ("plumb_bob", 5)),
    "FULL_OPENCV": ("rational_polynomial", 8),
    **dict.fromkeys(
        ("SIMPLE_FISHEYE", "FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "OPENCV_FISHEYE"), ("equidistant", 4)
    ),
}
"""Name in ROS of COLMAP's models, and how many coefficients it has at least."""


class CameraInfoFields(NamedTuple):
    """The intrinsics of a ``sensor_msgs/CameraInfo``: K (9,) row by row, D, and the name of the distortion model."""

    k: list[float]
    d: list[float]
    distortion_model: str


def camera_from_camera_info_fields(
    width: int,
    height: int,
    k: ArrayLike,
    d: Sequence[float] | ArrayLike,
    distortion_model: str,
    binning: tuple[int, int] = NO_BINNING,
    roi: tuple[int, int, int, int] = FULL_IMAGE,
) -> pycolmap.Camera:
    """Make the camera of the published image from CameraInfo: K and D are of the full, unbinned image.

    ``roi`` is (x, y, width, height) in unbinned pixels, zeros for the whole image. Raises CalibrationError.
    """
    coefficients = np.asarray(d, dtype=np.float64).ravel().tolist()
    camera = camera_from_calibration(width, height, k, distortion_model, coefficients)
    check_image_of_calibration(camera)
    return crop_and_bin(camera, roi, binning)


def calibration_from_camera_info(info: Any, image_topic: str, is_rectified: bool = False) -> CameraCalibration | None:
    """The calibration in a CameraInfo, by rclpy or from a bag, for the images on a topic; None where it has none.

    K and D hold for original images, P for rectified ones: those that are said to be (``is_rectified``), whose topic or
    frame is named so, or where only P is filled. Raises CalibrationError.
    """
    has_matrix, has_projection = info.k[0] != 0, info.p[0] != 0
    if not has_matrix:
        return CameraCalibration(_rectified_camera(info), CalibrationSource.RECORDED) if has_projection else None
    if is_rectified:
        return CameraCalibration(_camera_of_rectified(info, image_topic), CalibrationSource.RECORDED)
    if is_rectified_by_name(image_topic, info.header.frame_id):
        camera = _camera_of_rectified(info, image_topic)
        return CameraCalibration(camera, CalibrationSource.RECORDED, alternative=_distorted_camera(info))
    camera = camera_from_camera_info(info)
    is_distorted = without_distortion(camera) is not None
    alternative = _rectified_camera(info) if is_distorted and has_projection else None
    return CameraCalibration(camera, CalibrationSource.RECORDED, alternative=alternative)


def camera_from_camera_info(info: Any) -> pycolmap.Camera:
    """Camera of the original images of a CameraInfo, by K and D. Raises CalibrationError."""
    return _camera_of_info(info, info.k, info.d, info.distortion_model)


def _camera_of_rectified(info: Any, image_topic: str) -> pycolmap.Camera:
    if info.p[0] != 0:
        return _rectified_camera(info)
    if _distorted_camera(info) is not None:
        raise CalibrationError(
            f"the images of {image_topic} are rectified, but the matrix P of their camera_info, which holds for such "
            "images, is zero: fill it in, or give a calibration file of the rectified images"
        )
    return camera_from_camera_info(info)


def _distorted_camera(info: Any) -> pycolmap.Camera | None:
    """The camera of the original images, None where it has no distortion."""
    camera = camera_from_camera_info(info)
    return None if without_distortion(camera) is None else camera


def _rectified_camera(info: Any) -> pycolmap.Camera:
    return _camera_of_info(info, np.reshape(info.p, (3, 4))[:, :3], (), "plumb_bob")


def _camera_of_info(info: Any, k: ArrayLike, d: Sequence[float] | ArrayLike, model: str) -> pycolmap.Camera:
    roi = (info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height)
    return camera_from_camera_info_fields(info.width, info.height, k, d, model, (info.binning_x, info.binning_y), roi)


def camera_info_fields(camera: pycolmap.Camera) -> CameraInfoFields:
    """Give K, D and the distortion model of a camera as ROS has them, half a pixel taken off the principal point.

    Raises CalibrationError for a COLMAP model that CameraInfo cannot express.
    """
    name, params = camera.model.name, camera.params.tolist()
    if name not in _ROS_MODELS:  # EQUIRECTANGULAR has no focal length: its getter ends the process
        raise CalibrationError(f"CameraInfo has no distortion model for COLMAP's {name}: use OPENCV or OPENCV_FISHEYE")
    model, least = _ROS_MODELS[name]
    fx, fy = float(camera.focal_length_x), float(camera.focal_length_y)
    cx, cy = camera.principal_point_x - HALF_PIXEL, camera.principal_point_y - HALF_PIXEL
    k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    extra = params[len(params) - len(camera.extra_params_idxs()) :]
    return CameraInfoFields(k, extra + [0.0] * (least - len(extra)), model)
