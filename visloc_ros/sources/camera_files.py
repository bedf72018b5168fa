"""Cameras from calibration files of many programs; the content determines the format, and nothing else.

A file without the keys of its format is refused, those of the distortion included: a key that is missing or misspelt
never means "no distortion". COLMAP and nerfstudio call the centre of the top-left pixel (0.5, 0.5), all others (0, 0).
"""

from __future__ import annotations

import difflib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pycolmap
import yaml

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import (
    HALF_PIXEL,
    camera_from_calibration,
    camera_from_params,
    check_image_of_calibration,
)
from visloc_ros.core.colmap_model import read_cameras
from visloc_ros.core.colmap_text import read_text_cameras
from visloc_ros.core.errors import CalibrationError, MapError
from visloc_ros.core.files import read_text, read_yaml
from visloc_ros.core.trajectory import LATEST_NS, NANOSECONDS

_log = logging.getLogger(__name__)

_Values = Mapping[str, Any]

KNOWN_FORMATS = (
    "COLMAP ('model, width, height, params', cameras.txt or .bin), ROS camera_calibration, EuRoC sensor.yaml, Kalibr, "
    "OpenCV FileStorage, ORB-SLAM, VINS, basalt, transforms.json of nerfstudio and instant-ngp"
)
_OWN_FILE = "write 'model, width, height, params' of COLMAP into a YAML file instead"
CHAIN_NAME = re.compile(r"cam\d+")
"""Names of cameras in Kalibr's chain."""
TIME_SHIFT = "timeshift_cam_imu"
"""Name of the time shift of a camera in files of Kalibr and OpenVINS."""
_YAML = (".yaml", ".yml")
_OST = re.compile(r"^\[image\]$.*^camera matrix$", re.MULTILINE | re.DOTALL)
_NO_DISTORTION = ("", "none")
_LEAST_COEFFICIENTS = 4
_SIMILAR = 0.75  # distortion_coeffs is similar to distortion_coefficients, distortion_model is not
# Other names of COLMAP's models, and of the parameters behind the principal point, in COLMAP's order.
_RADTAN = ("k1", "k2", "p1", "p2")
_ORB_SLAM_MODELS = {"PinHole": ("plumb_bob", _RADTAN), "KannalaBrandt8": ("fisheye", ("k1", "k2", "k3", "k4"))}
_BASALT_MODELS = {
    "pinhole": ("PINHOLE", ()),
    "pinhole-radtan8": ("FULL_OPENCV", (*_RADTAN, "k3", "k4", "k5", "k6")),
    "kb4": ("OPENCV_FISHEYE", ("k1", "k2", "k3", "k4")),
    "eucm": ("EUCM", ("alpha", "beta")),
}
_NERFSTUDIO_MODELS = {
    "SIMPLE_PINHOLE": ("PINHOLE", ()),
    "PINHOLE": ("PINHOLE", ()),
    "OPENCV": ("OPENCV", _RADTAN),
    "OPENCV_FISHEYE": ("OPENCV_FISHEYE", ("k1", "k2", "k3", "k4")),
}


def read_camera_file(path: Path) -> pycolmap.Camera:
    """Read the camera of a calibration file in one of ``KNOWN_FORMATS``.

    Raises CalibrationError that names the format and the key where it cannot, and where a file has several cameras.
    """
    try:
        camera = _read(path)
        check_image_of_calibration(camera)
        return camera
    except (TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        raise CalibrationError(f"the calibration {path} is malformed: {error}") from error
    except CalibrationError as error:
        raise error if str(path) in str(error) else CalibrationError(f"{path}: {error}") from error


def read_given_calibration(file: str) -> CameraCalibration | None:
    """The calibration in a given file; None for an empty name. Raises CalibrationError."""
    if not file:
        return None
    path = Path(file).expanduser()
    camera = read_camera_file(path)
    if shift_s := read_time_shift(path):
        _log.warning("%s: %s of %g s is for rigs: this camera keeps its own stamps", path, TIME_SHIFT, shift_s)
    return CameraCalibration(camera, CalibrationSource.GIVEN)


def write_camera_yaml(path: Path, camera: pycolmap.Camera) -> None:
    """Write a camera as ``model, width, height, params`` in COLMAP pixels; ``read_camera_file`` reads it back."""
    text = yaml.safe_dump(camera_to_values(camera), sort_keys=False, default_flow_style=None)
    path.write_text(text, encoding="utf-8")


def camera_to_values(camera: pycolmap.Camera) -> dict[str, Any]:
    """A camera as ``model, width, height, params`` in COLMAP pixels; ``camera_from_values`` reads it back."""
    return {
        "model": camera.model.name,
        "width": camera.width,
        "height": camera.height,
        "params": [float(value) for value in camera.params],
    }


def camera_from_values(values: _Values) -> pycolmap.Camera:
    """The camera of the values of a calibration file. Raises CalibrationError as ``read_camera_file`` does."""
    try:
        camera = _from_values(values)
        check_image_of_calibration(camera)
        return camera
    except (TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
        raise CalibrationError(f"the calibration is malformed: {error}") from error


def read_time_shift(path: Path) -> float:
    """``timeshift_cam_imu`` of a camera file of Kalibr or OpenVINS in seconds, 0 where it has none, or is another one.

    Raises CalibrationError where it is no number.
    """
    if path.suffix not in _YAML:
        return 0.0
    values = read_yaml(path, CalibrationError)
    blocks = [block for name, block in values.items() if CHAIN_NAME.fullmatch(name)] or [values]
    return time_shift_of(_the_only({str(index): block for index, block in enumerate(blocks)}))


def time_shift_of(values: _Values) -> float:
    """``timeshift_cam_imu``: the seconds to add to a camera's stamps for those of the IMU. Raises CalibrationError."""
    shift = values.get(TIME_SHIFT, 0.0)
    is_number = isinstance(shift, int | float) and not isinstance(shift, bool)
    if not (is_number and abs(shift) * NANOSECONDS < LATEST_NS):
        raise CalibrationError(f"{TIME_SHIFT} must be a number of seconds, not {shift!r}")
    return float(shift)


def _read(path: Path) -> pycolmap.Camera:
    if path.name == "cameras.bin":
        return _from_colmap_model(path, read_cameras)
    text = read_text(path, CalibrationError)
    if _OST.search(text):
        raise CalibrationError("the INI format of camera_calibration is not read: give the YAML beside it (ost.yaml)")
    if text.lstrip().startswith("<"):
        return _from_xml(text)
    rows = [line.split() for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    if rows and all(len(row) >= 5 and row[1] in pycolmap.CameraModelId.__members__ for row in rows):
        return _from_colmap_model(path, read_text_cameras)
    if len(rows) == 1 and len(rows[0]) >= 4 and not re.search(r"[^-+.\deE\s]", " ".join(rows[0])):
        raise CalibrationError(f"bare numbers, as in ETH3D's calibration.txt, have no image size: {_OWN_FILE}")
    return _from_values(json.loads(text) if path.suffix == ".json" else read_yaml(path, CalibrationError))


def _from_values(values: _Values) -> pycolmap.Camera:
    if not isinstance(values, Mapping):
        raise CalibrationError("it must hold 'key: value' lines")
    known = next(((name, read) for name, is_it, read in _READERS if is_it(values)), None)
    if known is None:
        raise CalibrationError(f"not a camera calibration; known are {KNOWN_FORMATS}")
    name, read = known
    try:
        return read(values)
    except KeyError as error:
        raise CalibrationError(f"as a calibration of {name} it lacks {error}") from error


def _from_xml(text: str) -> pycolmap.Camera:
    if "<opencv_storage>" not in text:
        raise CalibrationError(
            "XML of Metashape, RealityCapture or another program is not read: save the calibration as OpenCV XML "
            f"(Metashape: Tools, Camera Calibration, Save), or {_OWN_FILE}"
        )
    try:
        nodes = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise CalibrationError(f"the XML is broken: {error}") from error
    return _from_values({node.tag: _xml_value(node) for node in nodes})


def _xml_value(node: ElementTree.Element) -> Any:
    """A text, or a matrix as YAML has it."""
    data = node.findtext("data")
    return (node.text or "").strip() if data is None else {"data": [float(word) for word in data.split()]}


def _from_colmap_model(path: Path, read: Callable[[Path], Mapping[int, pycolmap.Camera]]) -> pycolmap.Camera:
    try:
        cameras = read(path)
    except MapError as error:
        raise CalibrationError(str(error)) from error
    camera: pycolmap.Camera = _the_only({str(name): camera for name, camera in cameras.items()})
    return camera


def _the_only(cameras: Mapping[str, Any]) -> Any:
    if len(cameras) != 1:
        names = ", ".join(cameras) or "none"
        raise CalibrationError(f"one camera is needed, the file has {len(cameras)} ({names}): give a file with one")
    return next(iter(cameras.values()))


def _from_colmap(values: _Values) -> pycolmap.Camera:
    params = [float(value) for value in values["params"]]
    return camera_from_params(str(values["model"]), int(values["width"]), int(values["height"]), params)


def _from_kalibr(values: _Values) -> pycolmap.Camera:
    """A block of Kalibr or OpenVINS, or a EuRoC sensor.yaml, which names only the coefficients otherwise."""
    width, height = values["resolution"]
    model, intrinsics = values.get("camera_model", "pinhole"), values["intrinsics"]
    distortion_model = values["distortion_model"]
    coefficients = _first_of(values, "distortion_coeffs", "distortion_coefficients")
    if model == "eucm" and distortion_model in _NO_DISTORTION:
        alpha, beta, *focal_and_centre = intrinsics
        return _shifted("EUCM", width, height, focal_and_centre, (alpha, beta))
    if model != "pinhole":
        raise CalibrationError(
            f"COLMAP has no model for camera_model '{model}' with '{distortion_model}': calibrate as pinhole with "
            "radtan or equidistant"
        )
    if distortion_model == "fov":
        return _shifted("FOV", width, height, intrinsics, coefficients)
    return _opencv(width, height, intrinsics, distortion_model, coefficients)


def _from_chain(values: _Values) -> pycolmap.Camera:
    return _from_kalibr(_the_only({name: block for name, block in values.items() if CHAIN_NAME.fullmatch(name)}))


def _from_ros(values: _Values) -> pycolmap.Camera:
    """The file of ROS' camera_calibration, or OpenCV's, which has no name of the distortion model."""
    values = {name.lower(): value for name, value in values.items()}  # Camera_Matrix in XML of Metashape
    k = values["camera_matrix"]["data"]
    coefficients = _first_of(values, "distortion_coefficients")["data"]
    model = values.get("distortion_model")
    if model is None and len(coefficients) <= _LEAST_COEFFICIENTS and any(coefficients):
        raise CalibrationError(
            f"{len(coefficients)} distortion coefficients without 'distortion_model': add that key, with plumb_bob or "
            "fisheye"
        )
    focal_and_centre = (k[0], k[4], k[2], k[5])
    name = "rational_polynomial" if model is None and len(coefficients) > 5 else model
    width, height = int(values["image_width"]), int(values["image_height"])
    return _opencv(width, height, focal_and_centre, "plumb_bob" if name is None else name, coefficients)


def _from_orb_slam(values: _Values) -> pycolmap.Camera:
    """Settings of ORB-SLAM3, or of ORB-SLAM2, which call the camera ``Camera``."""
    camera = _the_only({name[:-2]: name for name in values if re.fullmatch(r"Camera\d*\.fx", name)})[:-2]
    focal_and_centre = [values[camera + name] for name in ("fx", "fy", "cx", "cy")]
    width, height = int(values["Camera.width"]), int(values["Camera.height"])
    kind = values.get("Camera.type", "PinHole")
    if kind == "Rectified":
        return _opencv(width, height, focal_and_centre, "none", ())
    if kind not in _ORB_SLAM_MODELS:
        raise CalibrationError(f"unknown Camera.type '{kind}'; known: {', '.join(_ORB_SLAM_MODELS)}, Rectified")
    model, names = _ORB_SLAM_MODELS[kind]
    known = {camera + name for name in (*names, "k3")}
    unknown = next((key for key in values if re.match(rf"{camera}[kp]\d*$", key, re.I) and key not in known), None)
    if unknown is not None:
        raise CalibrationError(f"it has the unknown coefficient '{unknown}': rename or remove it")
    coefficients = [values[camera + name] for name in names]
    if model == "plumb_bob":
        coefficients.append(values.get(f"{camera}k3", 0.0))  # ORB-SLAM itself leaves it out where it is zero
    return _opencv(width, height, focal_and_centre, model, coefficients)


def _from_vins(values: _Values) -> pycolmap.Camera:
    """A camera of VINS or camodocal."""
    width, height = int(values["image_width"]), int(values["image_height"])
    kind, projection = values["model_type"], values["projection_parameters"]
    if kind == "PINHOLE":
        distortion = values["distortion_parameters"]
        focal_and_centre = [projection[name] for name in ("fx", "fy", "cx", "cy")]
        return _opencv(width, height, focal_and_centre, "plumb_bob", [distortion[name] for name in _RADTAN])
    if kind == "KANNALA_BRANDT":
        focal_and_centre = [projection[name] for name in ("mu", "mv", "u0", "v0")]
        coefficients = [projection[name] for name in ("k2", "k3", "k4", "k5")]
        return _opencv(width, height, focal_and_centre, "fisheye", coefficients)
    raise CalibrationError(f"COLMAP has no model for model_type '{kind}': calibrate as PINHOLE or KANNALA_BRANDT")


def _from_basalt(values: _Values) -> pycolmap.Camera:
    cameras, sizes = values["value0"]["intrinsics"], values["value0"]["resolution"]
    camera, (width, height) = _the_only({f"cam{i}": pair for i, pair in enumerate(zip(cameras, sizes, strict=True))})
    if camera["camera_type"] not in _BASALT_MODELS:
        known = ", ".join(_BASALT_MODELS)
        raise CalibrationError(
            f"COLMAP has no model for basalt's '{camera['camera_type']}': calibrate as one of {known}"
        )
    model, names = _BASALT_MODELS[camera["camera_type"]]
    numbers = camera["intrinsics"]
    focal_and_centre = [numbers[name] for name in ("fx", "fy", "cx", "cy")]
    return _shifted(model, width, height, focal_and_centre, [numbers[name] for name in names])


def _from_nerfstudio(values: _Values) -> pycolmap.Camera:
    """The camera that all frames of a ``transforms.json`` share, in COLMAP's pixels already."""
    frames = values.get("frames") or [{}]
    if "fl_x" not in values and "fl_x" in frames[0]:
        raise CalibrationError("its frames have a camera each: give a file with one")
    numbers = [values[name] for name in ("fl_x", "fl_y", "cx", "cy")]
    if "is_fisheye" in values:  # as instant-ngp writes it
        kind = "OPENCV_FISHEYE" if values["is_fisheye"] else "OPENCV"
    else:
        kind = values["camera_model"]
    if kind not in _NERFSTUDIO_MODELS:
        known = ", ".join(_NERFSTUDIO_MODELS)
        raise CalibrationError(f"nerfstudio's camera_model '{kind}' is not read, only {known}")
    model, names = _NERFSTUDIO_MODELS[kind]
    beyond = next((name for name in ("k3", "k4") if name not in names and values.get(name)), None)
    if beyond is not None:
        raise CalibrationError(f"COLMAP's {model} has no place for {beyond}: {_OWN_FILE}")
    params = [float(value) for value in (*numbers, *(values[name] for name in names))]
    return camera_from_params(model, int(values["w"]), int(values["h"]), params)


def _first_of(values: _Values, *names: str) -> Any:
    """The value of the first of these keys that is there. Raises CalibrationError that names one spelt similarly."""
    for name in names:
        if name in values:
            return values[name]
    similar = difflib.get_close_matches(names[-1], list(values), 1, cutoff=_SIMILAR)
    instead = f", but has '{similar[0]}': rename it" if similar else "; without distortion, write zeros"
    raise CalibrationError(f"it lacks '{names[-1]}'{instead}")


def _opencv(
    width: int, height: int, focal_and_centre: Sequence[float], distortion_model: str, coefficients: Sequence[float]
) -> pycolmap.Camera:
    fx, fy, cx, cy = (float(value) for value in focal_and_centre)
    if distortion_model not in _NO_DISTORTION and len(coefficients) < _LEAST_COEFFICIENTS:
        raise CalibrationError(f"{len(coefficients)} coefficients are too few for '{distortion_model}'")
    return camera_from_calibration(width, height, [fx, 0, cx, 0, fy, cy, 0, 0, 1], distortion_model, coefficients)


def _shifted(
    model: str, width: int, height: int, focal_and_centre: Sequence[float], others: Sequence[float]
) -> pycolmap.Camera:
    """A camera of a COLMAP model whose principal point is given in OpenCV pixels."""
    fx, fy, cx, cy = (float(value) for value in focal_and_centre)
    params = [fx, fy, cx + HALF_PIXEL, cy + HALF_PIXEL, *(float(value) for value in others)]
    return camera_from_params(model, width, height, params)


_READERS: tuple[tuple[str, Callable[[_Values], bool], Callable[[_Values], pycolmap.Camera]], ...] = (
    ("COLMAP", lambda values: "params" in values, _from_colmap),
    ("Kalibr or EuRoC", lambda values: "intrinsics" in values, _from_kalibr),
    ("ROS or OpenCV", lambda values: "camera_matrix" in map(str.lower, values), _from_ros),
    ("VINS", lambda values: "projection_parameters" in values, _from_vins),
    ("basalt", lambda values: "value0" in values, _from_basalt),
    ("nerfstudio", lambda values: "frames" in values or "fl_x" in values, _from_nerfstudio),
    ("Kalibr", lambda values: any(CHAIN_NAME.fullmatch(name) for name in values), _from_chain),
    ("ORB-SLAM", lambda values: any(re.match(r"Camera\d*\.", name) for name in values), _from_orb_slam),
)
