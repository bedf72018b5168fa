"""Rigs from files: this package's YAML, Kalibr's camera chain, and COLMAP's ``rig_config.json``; content decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pycolmap
import yaml

from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.colmap_rigs import rig_of_model
from visloc_ros.core.errors import CalibrationError
from visloc_ros.core.files import read_text, read_yaml
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import MODEL_FOLDER
from visloc_ros.core.rig import Rig, RigCamera, transform_from_matrix, transform_from_quaternion
from visloc_ros.sources.camera_files import (
    CHAIN_NAME,
    TIME_SHIFT,
    camera_from_values,
    camera_to_values,
    read_camera_file,
    read_time_shift,
    time_shift_of,
)

_Values = Mapping[str, Any]
_KEYS = {"camera", "rig_from_camera", "image_topic", TIME_SHIFT}
_PLACE_KEYS = {"translation", "quaternion_wxyz", "quaternion_xyzw"}
_ROUNDED_M, _ROUNDED_DEG = 1e-3, 0.1  # of a place that is written twice


def read_rig_file(path: Path, places: Mapping[str, SE3] | None = None) -> Rig:
    """Read a rig. The first camera of a file is the reference; that of COLMAP the one it calls so.

    ``rig.yaml`` holds under ``cameras``, by name, ``rig_from_camera`` (a 4x4 matrix, or ``translation`` and
    ``quaternion_wxyz`` or ``quaternion_xyzw``) and, optionally, ``camera``: a calibration file beside it, or the same
    values, ``image_topic``, and ``timeshift_cam_imu``, as Kalibr calls the seconds to add to the camera's stamps.
    ``places`` stand for those that it does not say; cameras without either are then left out. In the chain of Kalibr or
    OpenVINS the rig is the IMU where each camera has ``T_cam_imu`` or ``T_imu_cam``, else the first camera; in COLMAP's
    file, and in a folder with its model or a map, it is the reference camera. Cameras of COLMAP's file are 0x0 pixels
    large. Raises CalibrationError that names the camera and what is wrong.
    """
    try:
        return _read(path, places)
    except CalibrationError as error:
        raise error if str(path) in str(error) else CalibrationError(f"{path}: {error}") from error


def cameras_without_place(path: Path) -> dict[str, str]:
    """The cameras of a ``rig.yaml`` without ``rig_from_camera``, each with its ``image_topic``, empty if not named.

    Raises CalibrationError where other cameras have one: places of two sources are hardly of one frame.
    """
    cameras = {} if path.suffix == ".json" or path.is_dir() else read_yaml(path, CalibrationError).get("cameras")
    if not isinstance(cameras, Mapping):
        return {}
    placeless = {name: one or {} for name, one in cameras.items() if "rig_from_camera" not in (one or {})}
    if placeless and len(placeless) < len(cameras):
        raise CalibrationError(f"{path}: give 'rig_from_camera' of all cameras, or of none to take those of a bag")
    return {str(name): str(one.get("image_topic", "")) for name, one in placeless.items()}


def write_rig_yaml(path: Path, rig: Rig) -> None:
    """Write a rig as YAML; ``read_rig_file`` reads it back."""
    cameras: dict[str, Any] = {}
    for name, camera in rig.cameras.items():
        place = camera.rig_from_camera
        values = {"translation": place.translation.tolist(), "quaternion_wxyz": place.quaternion.tolist()}
        cameras[name] = {"rig_from_camera": values}
        if camera.camera is not None:
            cameras[name]["camera"] = camera_to_values(camera.camera)
        if camera.image_topic:
            cameras[name]["image_topic"] = camera.image_topic
        if camera.time_shift_s:
            cameras[name][TIME_SHIFT] = camera.time_shift_s
    path.write_text(yaml.safe_dump({"cameras": cameras}, sort_keys=False, default_flow_style=None), encoding="utf-8")


def write_rig_config(path: Path, rig: Rig) -> None:
    """Write a rig as COLMAP's ``rig_config.json``, whose frame is the reference camera; image prefixes are names."""
    reference_from_rig = rig.rig_from_camera(rig.reference).inverse
    cameras: list[dict[str, Any]] = []
    for name in rig.names:
        camera_from_reference = (reference_from_rig @ rig.rig_from_camera(name)).inverse
        place: dict[str, Any] = {"ref_sensor": True}
        if name != rig.reference:
            place = {
                "cam_from_rig_rotation": camera_from_reference.quaternion.tolist(),
                "cam_from_rig_translation": camera_from_reference.translation.tolist(),
            }
        camera = rig.cameras[name].camera
        if camera is not None:
            place |= {"camera_model_name": camera.model.name, "camera_params": camera.params.tolist()}
        cameras.append({"image_prefix": f"{name}/", **place})
    path.write_text(json.dumps([{"cameras": cameras}], indent=2) + "\n", encoding="utf-8")


def _read(path: Path, places: Mapping[str, SE3] | None) -> Rig:
    if path.is_dir():
        model = path / MODEL_FOLDER
        return rig_of_model(model if model.is_dir() else path)
    if path.suffix == ".json":
        return _from_colmap(_json(path))
    values = read_yaml(path, CalibrationError)
    if isinstance(values.get("cameras"), Mapping):
        cameras = {name: {} if one is None else one for name, one in values["cameras"].items()}
        known = dict.fromkeys(cameras) if places is None else places
        chosen = {name: one for name, one in cameras.items() if name in known}
        return Rig(_each(chosen, lambda name, camera: _from_yaml(camera, path.parent, known[name])))
    if values and all(CHAIN_NAME.fullmatch(str(name)) for name in values):
        return _from_kalibr(values)
    raise CalibrationError("not a rig: write 'cameras:' with rig_from_camera of each, or give Kalibr's camchain.yaml")


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path, CalibrationError))
    except ValueError as error:
        raise CalibrationError(f"broken JSON: {error}") from error


def _each(cameras: Mapping[str, Any], read: Callable[[str, _Values], RigCamera]) -> dict[str, RigCamera]:
    """What is read of each camera; errors name the camera."""
    found = {}
    for name, values in cameras.items():
        try:
            if not isinstance(values, Mapping):
                raise CalibrationError("'key: value' lines are needed")
            found[str(name)] = read(str(name), values)
        except CalibrationError as error:
            raise CalibrationError(f"camera '{name}': {error}") from error
    return found


def _from_yaml(values: _Values, folder: Path, known: SE3 | None) -> RigCamera:
    _check_keys(values, _KEYS)
    topic, place, camera = str(values.get("image_topic", "")), values.get("rig_from_camera"), values.get("camera")
    if place is not None:
        known = _place(place) if isinstance(place, Mapping) else transform_from_matrix(place)
    if known is None:
        raise CalibrationError("it lacks 'rig_from_camera', which only a bag's /tf_static can replace")
    shift_s = time_shift_of(values)
    if camera is None:
        return RigCamera(known, None, topic, shift_s)
    is_here, file = isinstance(camera, Mapping), folder / str(camera)
    intrinsics = camera_from_values(camera) if is_here else read_camera_file(file)
    if TIME_SHIFT not in values:
        shift_s = time_shift_of(camera) if is_here else read_time_shift(file)
    return RigCamera(known, intrinsics, topic, shift_s)


def _place(values: _Values) -> SE3:
    _check_keys(values, _PLACE_KEYS)
    quaternions = [name for name in values if name.startswith("quaternion")]
    if "translation" not in values or len(quaternions) != 1:
        raise CalibrationError("rig_from_camera needs 'translation' and one of quaternion_wxyz and quaternion_xyzw")
    quaternion = values[quaternions[0]]
    if quaternions[0] == "quaternion_xyzw" and isinstance(quaternion, list):
        quaternion = [*quaternion[-1:], *quaternion[:-1]]
    return transform_from_quaternion(quaternion, values["translation"])


def _check_keys(values: _Values, known: set[str]) -> None:
    unknown = sorted(str(name) for name in values if name not in known)
    if unknown:
        raise CalibrationError(f"unknown key '{unknown[0]}'; known: {', '.join(sorted(known))}")


def _from_kalibr(values: Mapping[str, Any]) -> Rig:
    """The chain of Kalibr or OpenVINS; ``T_cn_cnm1`` takes points of the camera before into this one."""
    names = sorted(values, key=lambda name: int(str(name)[3:]))
    cameras = {str(name): values[name] for name in names}
    by_imu = all(isinstance(one, Mapping) and ("T_cam_imu" in one or "T_imu_cam" in one) for one in cameras.values())
    before: list[SE3] = []  # rig_from_camera of the cameras so far

    def read(_: str, camera: _Values) -> RigCamera:
        if by_imu:
            place = _imu_from_camera(camera)
        elif not before:
            place = SE3.identity()
        elif "T_cn_cnm1" in camera:
            place = before[-1] @ transform_from_matrix(camera["T_cn_cnm1"]).inverse
        else:
            raise CalibrationError("it lacks 'T_cn_cnm1' (or give T_cam_imu of every camera)")
        before.append(place)
        intrinsics = camera_from_values(camera) if "intrinsics" in camera else None
        return RigCamera(place, intrinsics, str(camera.get("rostopic", "")), time_shift_of(camera))

    return Rig(_each(cameras, read))


def _imu_from_camera(camera: _Values) -> SE3:
    """By Kalibr's ``T_cam_imu``, which is camera_from_imu, or by ``T_imu_cam`` of OpenVINS."""
    places = []
    if "T_cam_imu" in camera:
        places.append(transform_from_matrix(camera["T_cam_imu"]).inverse)
    if "T_imu_cam" in camera:
        places.append(transform_from_matrix(camera["T_imu_cam"]))
    if not places[0].is_close(places[-1], _ROUNDED_M, _ROUNDED_DEG):
        raise CalibrationError("'T_cam_imu' and 'T_imu_cam' contradict each other: one must be the other's inverse")
    return places[0]


def _from_colmap(values: Any) -> Rig:
    """COLMAP's file of rigs, of which one is read. Cameras are named after the last part of their image prefix."""
    if not (isinstance(values, list) and all(isinstance(rig, Mapping) and "cameras" in rig for rig in values)):
        raise CalibrationError("not COLMAP's rig_config.json: it must be a list of rigs with 'cameras'")
    if len(values) != 1:
        raise CalibrationError(f"one rig is needed, the file has {len(values)}")
    cameras: dict[str, Any] = {}
    for camera in values[0]["cameras"]:
        if not isinstance(camera, Mapping) or not str(camera.get("image_prefix", "")).strip("/"):
            raise CalibrationError("every camera needs an 'image_prefix'")
        name = str(camera["image_prefix"]).rstrip("/").rpartition("/")[2]
        if name in cameras:
            raise CalibrationError(f"two cameras have image prefixes that end with '{name}'")
        cameras[name] = camera
    references = [name for name, camera in cameras.items() if camera.get("ref_sensor")]
    if len(references) != 1:
        raise CalibrationError(f"one camera must be the 'ref_sensor', not {len(references)}")
    ordered = {references[0]: cameras.pop(references[0]), **cameras}
    return Rig(_each(ordered, _place_of_colmap))


def _place_of_colmap(_: str, camera: _Values) -> RigCamera:
    intrinsics = _intrinsics_of_colmap(camera)
    if camera.get("ref_sensor"):
        return RigCamera(SE3.identity(), intrinsics)
    rotation, translation = camera.get("cam_from_rig_rotation"), camera.get("cam_from_rig_translation")
    if rotation is None or translation is None:
        raise CalibrationError("it lacks 'cam_from_rig_rotation' (w, x, y, z) or 'cam_from_rig_translation'")
    return RigCamera(transform_from_quaternion(rotation, translation).inverse, intrinsics)


def _intrinsics_of_colmap(values: _Values) -> pycolmap.Camera | None:
    """The camera of a model and its parameters, 0x0 pixels large; None where the file has none."""
    model, params = values.get("camera_model_name"), values.get("camera_params")
    if model is None and params is None:
        return None
    if model is None or not isinstance(params, list):
        raise CalibrationError("'camera_model_name' and the list 'camera_params' go together: give both, or none")
    try:
        camera = camera_from_params(str(model), 1, 1, [float(value) for value in params])
    except (TypeError, ValueError) as error:
        raise CalibrationError(f"camera_params must be numbers: {error}") from error
    camera.width = camera.height = 0
    return camera
