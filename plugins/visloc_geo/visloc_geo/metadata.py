"""``metadata.json`` of a view: read, checked, written.

The keys are those of geonavpy's databases (``w h lat lng alt azn fov K E pano`` and the anchor of ``E``: ``baselat
baselng basealt baseazn``) and some more: ``pitch roll pose_sigma_m azn_sigma_deg distortion source licence attribution
captured_at alt_source camera_height query_location``. ``azn`` is in degrees clockwise from true north; ``fov`` is that
of the longer side; ``K`` is in pixels from the image's corner, as COLMAP's. ``E`` is ``camera_from_anchor`` (4, 4), in
metres: the anchor looks horizontally at ``baseazn``, its x to the right, y down, z forward.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from visloc_geo.orientation import angles_of, rotation_of
from visloc_geo.view import Orientation, View
from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import CalibrationError, GeoError
from visloc_ros.core.files import read_text
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.sources.measurements import GeoPosition

METADATA_NAME = "metadata.json"
SCHEMA = 1
GROUND = "ground"
"""Value of ``alt_source`` where ``alt`` is that of the ground, ``camera_height`` below the camera."""

_TEXTS = {
    "panorama": "pano",
    "source": "source",
    "licence": "licence",
    "attribution": "attribution",
    "captured_at": "captured_at",
    "altitude_source": "alt_source",
}
_NUMBERS = (
    "lat", "lng", "alt", "azn", "fov", "pitch", "roll", "pose_sigma_m", "azn_sigma_deg", "camera_height",
    "baselat", "baselng", "basealt", "baseazn",
)  # fmt: skip
_OTHER_KEYS = ("schema", "w", "h", "K", "E", "distortion", "query_location")
_KNOWN = {*_TEXTS.values(), *_NUMBERS, *_OTHER_KEYS}
_MAX_BYTES = 1 << 20
_MOST_APART_M = 1.0  # between E and the position
_NOT_ROTATED = 1e-3  # elements of R^T R beside those of the unit matrix


def read_view(folder: Path) -> View:
    """The view in a folder of a database. Raises GeoError where its metadata are missing or contradict each other."""
    path = folder / METADATA_NAME
    try:
        values = json.loads(read_text(path, GeoError, _MAX_BYTES))
        if not isinstance(values, dict):
            raise ValueError("it is no object of keys and values")
        return view_of(folder.name, values)
    except (ValueError, RecursionError, CalibrationError) as error:
        raise GeoError(f"cannot use {path}: {error}") from error


def write_view(folder: Path, view: View, anchor: EnuFrame) -> None:
    """Write the metadata of a view into its folder; ``E`` is relative to an anchor that looks north."""
    with atomic_write(folder / METADATA_NAME) as path:
        path.write_text(metadata_text(view, anchor), encoding="utf-8")


def metadata_text(view: View, anchor: EnuFrame) -> str:
    """The content of ``metadata.json``."""
    return json.dumps(values_of(view, anchor), indent=1, allow_nan=False) + "\n"


def view_of(name: str, values: Mapping[str, Any]) -> View:
    """The view that keys and values describe. Raises ValueError or CalibrationError."""
    if values.get("schema", SCHEMA) != SCHEMA:
        raise ValueError(f"schema {values['schema']} is not known, {SCHEMA} is: update visloc_ros")
    numbers = {key: _number(values, key) for key in _NUMBERS}
    for key in ("pose_sigma_m", "azn_sigma_deg"):
        if (sigma := numbers[key]) is not None and sigma <= 0.0:
            raise ValueError(f"'{key}' is {sigma:g}, but a standard deviation is above 0: remove the key if unknown")
    texts = {field: _text(values, key) for field, key in _TEXTS.items()}
    position, orientation = _position(numbers, texts["altitude_source"]), _orientation(numbers)
    extrinsics = _extrinsics(values, numbers)
    if extrinsics is not None:
        position, orientation = _by_extrinsics(extrinsics, numbers, position)
    location = values.get("query_location")
    return View(
        name,
        position,
        orientation,
        _camera(values, numbers["fov"]),
        **texts,
        camera_height_m=numbers["camera_height"],
        query_location=None if location is None else (float(location[0]), float(location[1])),
        others={key: value for key, value in values.items() if key not in _KNOWN},
    )


def values_of(view: View, anchor: EnuFrame) -> dict[str, Any]:
    """Keys and values that describe a view; unknown ones are left out."""
    values: dict[str, Any] = {"schema": SCHEMA, **{key: getattr(view, name) for name, key in _TEXTS.items()}}
    if view.position is not None:
        height = view.camera_height_m or 0.0
        altitude, is_ground = view.position.altitude, view.altitude_source == GROUND
        values |= {"lat": view.position.latitude, "lng": view.position.longitude}
        values |= {"alt": altitude - height if altitude is not None and is_ground else altitude}
        values |= {"pose_sigma_m": view.position.sigma}
    if view.orientation is not None:
        angles = view.orientation
        values |= {"azn": angles.heading_deg, "azn_sigma_deg": angles.sigma_deg}
        values |= {"pitch": angles.pitch_deg, "roll": angles.roll_deg}
    if view.camera is not None:
        values |= _camera_values(view.camera)
    pose = view.enu_from_camera(anchor)
    if pose is not None:
        values["E"] = camera_from_anchor(pose).matrix.tolist()
        values |= {"baselat": anchor.latitude, "baselng": anchor.longitude, "basealt": anchor.altitude, "baseazn": 0.0}
    values |= {"camera_height": view.camera_height_m, "query_location": view.query_location}
    return {**view.others, **{key: value for key, value in values.items() if value is not None}}


def camera_from_anchor(enu_from_camera: SE3) -> SE3:
    """``E`` of a pose, relative to an anchor at the origin that looks north."""
    return enu_from_camera.inverse @ SE3(rotation_of(0.0), np.zeros(3))


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"'{key}' is {value!r}, no finite number")
    return float(value)


def _text(values: Mapping[str, Any], key: str) -> str | None:
    value = values.get(key)
    return None if value is None else str(value)


def _position(numbers: Mapping[str, float | None], altitude_source: str | None) -> GeoPosition | None:
    lat, lng, alt = numbers["lat"], numbers["lng"], numbers["alt"]
    if lat is None or lng is None:
        return None
    if abs(lat) > 90.0 or abs(lng) > 180.0:
        raise ValueError(f"({lat}, {lng}) is no latitude and longitude in degrees")
    if alt is not None and altitude_source == GROUND:
        alt += numbers["camera_height"] or 0.0
    return GeoPosition(lat, lng, alt, numbers["pose_sigma_m"])


def _orientation(numbers: Mapping[str, float | None]) -> Orientation | None:
    if numbers["azn"] is None:
        return None
    heading = numbers["azn"] % 360.0
    return Orientation(heading, numbers["pitch"] or 0.0, numbers["roll"] or 0.0, numbers["azn_sigma_deg"])


def _extrinsics(values: Mapping[str, Any], numbers: Mapping[str, float | None]) -> SE3 | None:
    """``camera_from_anchor``; None without it or without the position of its anchor."""
    if values.get("E") is None or numbers["baselat"] is None or numbers["baselng"] is None:
        return None
    matrix = _matrix(values["E"], (4, 4), "E")
    rotation = matrix[:3, :3]
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > _NOT_ROTATED or np.linalg.det(rotation) < 0:
        raise ValueError("'E' is no rigid transform: its rotation is not orthogonal, or mirrors")
    return SE3.from_matrix(matrix)


def _by_extrinsics(
    extrinsics: SE3, numbers: Mapping[str, float | None], position: GeoPosition | None
) -> tuple[GeoPosition, Orientation]:
    """Position and orientation by ``E``, checked against the position that is given beside it."""
    frame = EnuFrame(numbers["baselat"] or 0.0, numbers["baselng"] or 0.0, numbers["basealt"] or 0.0)
    enu_from_anchor = SE3(rotation_of(numbers["baseazn"] or 0.0), np.zeros(3))
    pose = enu_from_anchor @ extrinsics.inverse
    heading, pitch, roll = angles_of(pose.rotation)
    orientation = Orientation(heading, pitch, roll, numbers["azn_sigma_deg"])
    if position is None:
        lat, lng, alt = (float(value) for value in frame.to_geodetic(pose.translation)[0])
        return GeoPosition(lat, lng, alt, numbers["pose_sigma_m"]), orientation
    altitude = frame.altitude if position.altitude is None else position.altitude
    given = frame.from_geodetic([position.latitude, position.longitude, altitude])[0]
    apart = float(np.linalg.norm((given - pose.translation)[:2]))
    if apart > _MOST_APART_M:
        raise ValueError(f"'E' puts the camera {apart:.1f} m from 'lat' and 'lng': leave one of them out")
    return position, orientation


def _camera(values: Mapping[str, Any], fov_deg: float | None) -> pycolmap.Camera | None:
    if values.get("w") is None or values.get("h") is None:
        return None
    width, height = int(values["w"]), int(values["h"])
    if values.get("K") is not None:
        k = _matrix(values["K"], (3, 3), "K")
        focal_x, focal_y, x, y = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    elif fov_deg is not None:
        if not 0.0 < fov_deg < 180.0:
            raise ValueError(f"a field of view of {fov_deg} degrees is that of no perspective image")
        focal_x = focal_y = max(width, height) / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
        x, y = width / 2.0, height / 2.0
    else:
        return None
    distortion = [float(value) for value in values.get("distortion") or ()]
    if not any(distortion):
        return camera_from_params("PINHOLE", width, height, [focal_x, focal_y, x, y])
    if len(distortion) > 4:
        raise ValueError("'distortion' holds more than k1 k2 p1 p2")
    padded = [*distortion, 0.0, 0.0, 0.0, 0.0][:4]
    return camera_from_params("OPENCV", width, height, [focal_x, focal_y, x, y, *padded])


def _camera_values(camera: pycolmap.Camera) -> dict[str, Any]:
    """``w h K fov distortion`` of a camera. Raises CalibrationError for one that is not perspective."""
    if camera.model.name not in ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV"):
        raise CalibrationError(f"a view cannot have a camera of the model {camera.model.name}: undistort its image")
    extra = [float(camera.params[index]) for index in camera.extra_params_idxs()]
    side = max(camera.width, camera.height)
    focal = camera.focal_length_x if camera.width >= camera.height else camera.focal_length_y
    values: dict[str, Any] = {"w": camera.width, "h": camera.height, "K": camera.calibration_matrix().tolist()}
    values["fov"] = math.degrees(2.0 * math.atan(side / (2.0 * focal)))
    return {**values, "distortion": extra} if any(extra) else values


def _matrix(value: Any, shape: tuple[int, int], name: str) -> Array:
    try:
        matrix = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"'{name}' is no matrix of numbers") from None
    if matrix.shape != shape or not np.all(np.isfinite(matrix)):
        raise ValueError(f"'{name}' is no matrix of {shape[0]}x{shape[1]} finite numbers")
    return matrix
