"""Camera models from calibration files and CameraInfo fields, and back.

Files and messages of OpenCV and ROS call the centre of the top-left pixel (0, 0), COLMAP (0.5, 0.5):
``core.camera`` adds the half pixel on the way in, ``camera_info_fields`` takes it off on the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycolmap
import yaml
from numpy.typing import ArrayLike

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import HALF_PIXEL, camera_from_calibration, camera_from_params, crop_and_bin
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.files import read_yaml

FULL_IMAGE = (0, 0, 0, 0)
NO_BINNING = (0, 0)

_Reader = Callable[[Mapping[str, Any]], pycolmap.Camera]


class CameraInfoFields(NamedTuple):
    """The intrinsics of a ``sensor_msgs/CameraInfo``: K (9,) row by row, D, and the name of the distortion model."""

    k: list[float]
    d: list[float]
    distortion_model: str


def read_camera_yaml(path: Path) -> pycolmap.Camera:
    """Read a camera from YAML; the keys identify the format.

    Known are COLMAP's ``model, width, height, params`` (COLMAP pixels), a EuRoC ``sensor.yaml`` and the file of ROS'
    camera_calibration (both OpenCV pixels). Raises CalibrationError.
    """
    values = read_yaml(path, CalibrationError)
    readers = {"params": _from_colmap, "intrinsics": _from_euroc, "camera_matrix": _from_ros}
    for key, reader in readers.items():
        if key in values:
            return _read_checked(path, reader, values)
    raise CalibrationError(
        f"{path} is not a camera calibration: expected 'model, width, height, params', "
        "a EuRoC sensor.yaml ('intrinsics') or a ROS camera_calibration file ('camera_matrix')"
    )


def read_given_calibration(file: str) -> CameraCalibration | None:
    """The calibration in a given file; None for an empty name. Raises CalibrationError."""
    if not file:
        return None
    return CameraCalibration(read_camera_yaml(Path(file).expanduser()), CalibrationSource.GIVEN)


def write_camera_yaml(path: Path, camera: pycolmap.Camera) -> None:
    """Write a camera as ``model, width, height, params`` in COLMAP pixels; ``read_camera_yaml`` reads it back."""
    values = {
        "model": camera.model.name,
        "width": camera.width,
        "height": camera.height,
        "params": [float(value) for value in camera.params],
    }
    path.write_text(yaml.safe_dump(values, sort_keys=False, default_flow_style=None), encoding="utf-8")


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
    return crop_and_bin(camera, roi, binning)


def camera_info_fields(camera: pycolmap.Camera) -> CameraInfoFields:
    """Give K, D and the distortion model of a camera as ROS has them, half a pixel taken off the principal point.

    Raises CalibrationError for a COLMAP model that CameraInfo cannot express.
    """
    name, params = camera.model.name, camera.params.tolist()
    fx, fy = float(camera.focal_length_x), float(camera.focal_length_y)
    cx, cy = camera.principal_point_x - HALF_PIXEL, camera.principal_point_y - HALF_PIXEL
    k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    extra = params[len(params) - len(camera.extra_params_idxs()) :]
    if name in ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"):
        return CameraInfoFields(k, extra + [0.0] * (5 - len(extra)), "plumb_bob")
    if name == "FULL_OPENCV":
        return CameraInfoFields(k, extra, "rational_polynomial")
    if name == "OPENCV_FISHEYE":
        return CameraInfoFields(k, extra, "equidistant")
    raise CalibrationError(f"CameraInfo has no distortion model for COLMAP's {name}: use OPENCV or OPENCV_FISHEYE")


def _read_checked(path: Path, reader: _Reader, values: Mapping[str, Any]) -> pycolmap.Camera:
    try:
        return reader(values)
    except KeyError as error:
        raise CalibrationError(f"the calibration {path} lacks {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise CalibrationError(f"the calibration {path} is malformed: {error}") from error
    except CalibrationError as error:
        raise CalibrationError(f"{path}: {error}") from error


def _from_colmap(values: Mapping[str, Any]) -> pycolmap.Camera:
    params = [float(value) for value in values["params"]]
    return camera_from_params(str(values["model"]), int(values["width"]), int(values["height"]), params)


def _from_euroc(values: Mapping[str, Any]) -> pycolmap.Camera:
    if values.get("camera_model", "pinhole") != "pinhole":
        raise CalibrationError(f"camera_model '{values['camera_model']}' is not supported: only pinhole is")
    width, height = values["resolution"]
    fx, fy, cx, cy = values["intrinsics"]
    k = [fx, 0, cx, 0, fy, cy, 0, 0, 1]
    distortion = values.get("distortion_coefficients", [])
    return camera_from_calibration(width, height, k, values.get("distortion_model", ""), distortion)


def _from_ros(values: Mapping[str, Any]) -> pycolmap.Camera:
    return camera_from_calibration(
        int(values["image_width"]),
        int(values["image_height"]),
        values["camera_matrix"]["data"],
        values.get("distortion_model", ""),
        values.get("distortion_coefficients", {}).get("data", []),
    )
