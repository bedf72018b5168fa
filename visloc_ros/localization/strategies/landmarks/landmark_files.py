"""Landmark maps as files: ``landmarks.npz`` (points), ``frames.npz`` and ``landmarks.json`` in a folder.

Nothing is packed, so that a map takes as many bytes as its numbers do. They belong to one version of one map, which
stays where its models and its own error are told of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import check_plausible_camera
from visloc_ros.core.errors import CalibrationError, ConfigError, MapError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import MapImage
from visloc_ros.core.map_layout import FEATURES_NAME, MODEL_FOLDER
from visloc_ros.core.map_writer import camera_values
from visloc_ros.core.plausibility import is_plausible_position
from visloc_ros.localization.strategies.landmarks.array_files import read_arrays, write_arrays
from visloc_ros.localization.strategies.landmarks.clustering import BACKGROUND
from visloc_ros.localization.strategies.landmarks.config import MOST_LANDMARKS, LandmarkConfig
from visloc_ros.localization.strategies.landmarks.landmark_map import (
    LandmarkMap,
    PointTable,
    make_frame,
    map_of_frames,
)

POINTS_NAME, FRAMES_NAME, DESCRIPTION_NAME = "landmarks.npz", "frames.npz", "landmarks.json"
SCHEMA_VERSION = 1

_AGAIN = ": run 'visloc prepare MAP --for landmarks' again"
_MOST_DESCRIPTION_BYTES = 32 << 20
_LONGEST_NAME = 4096
_UNIT_LENGTH = 1e-3  # how far the length of a quaternion may be from one


@dataclass(frozen=True)
class _Description:
    """What ``landmarks.json`` says."""

    config: LandmarkConfig
    extractor: Mapping[str, Any]
    made_from: Mapping[str, str]
    counts: Mapping[str, int]
    cameras: Sequence[pycolmap.Camera]
    names: Sequence[str]


def save_landmark_map(folder: Path, landmark_map: LandmarkMap) -> None:
    """Write the files of a landmark map into a folder that is there. Raises OSError, and MapError for no extractor.

    Coordinates are kept in single precision from the middle of the map, wherever its origin is.
    """
    points, images = landmark_map.points, landmark_map.map.images
    description = _describe(landmark_map)
    offset = (points.xyz.min(axis=0) + points.xyz.max(axis=0)) / 2.0
    of_points: dict[str, NDArray[Any]] = {
        "offset": offset,
        "xyz": (points.xyz - offset).astype(np.float32),
        "label": points.labels.astype(np.int16),
        "descriptor": points.descriptors.astype(np.float16),
        "error": points.errors.astype(np.float32),
    }
    of_frames: dict[str, NDArray[Any]] = {
        "map_from_camera": _pose_rows(images),
        "camera": _camera_rows(images)[1],
        "first_row": np.cumsum([0, *(len(image.point_rows) for image in images)]).astype(np.int64),
        "point_rows": np.concatenate([image.point_rows for image in images]).astype(np.int32),
        "landmark_frame": landmark_map.frame_rows.astype(np.int32),
    }
    write_arrays(folder / POINTS_NAME, of_points)
    write_arrays(folder / FRAMES_NAME, of_frames)
    (folder / DESCRIPTION_NAME).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


def load_landmark_map(files: Mapping[str, bytes], manifest: Manifest) -> LandmarkMap:
    """Read the landmark map of the map with this manifest out of the contents of files by name, everything checked.

    Raises MapError in words where a file is missing or broken, or was made from another version of the map or with
    another extractor. (A map of stock hloc states no checksums: its version is not compared.)
    """
    for name in (DESCRIPTION_NAME, POINTS_NAME, FRAMES_NAME):
        if name not in files:
            raise MapError(f"{name} of the landmarks of the map '{manifest.name}' is missing{_AGAIN}")
    description = _read_description(files[DESCRIPTION_NAME])
    _check_origin(description, manifest)
    points = _read_points(files[POINTS_NAME], description)
    frames, frame_rows = _read_frames(files[FRAMES_NAME], description, points)
    return LandmarkMap(map_of_frames(manifest, frames, points), points, frame_rows, description.config)


def byte_report(landmark_map: LandmarkMap) -> dict[str, int]:
    """Bytes on disk of the descriptors, the rest of the points, the frames, and the description; their sum is exact."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_landmark_map(folder, landmark_map)
        sizes = {name: (folder / name).stat().st_size for name in (POINTS_NAME, FRAMES_NAME, DESCRIPTION_NAME)}
    descriptors = landmark_map.points.descriptors.nbytes
    return {
        "descriptors": descriptors,
        "points": sizes[POINTS_NAME] - descriptors,
        "frames": sizes[FRAMES_NAME],
        "description": sizes[DESCRIPTION_NAME],
    }


def _describe(landmark_map: LandmarkMap) -> dict[str, Any]:
    map_, points = landmark_map.map, landmark_map.points
    extractor = map_.manifest.models.get("extractor")
    if extractor is None:
        raise MapError(f"the map '{map_.name}' does not say which extractor made it: build it again")
    dimension = points.descriptors.shape[1]
    return {
        "schema_version": SCHEMA_VERSION,
        "config": landmark_map.config.to_mapping(),
        "extractor": {"name": extractor.name, "sha256": extractor.sha256, "descriptor_dim": dimension},
        "made_from": _origin(map_.manifest),
        "counts": {"points": len(map_.points), "landmarks": landmark_map.num_landmarks, "frames": len(map_.images)},
        "cameras": _camera_rows(map_.images)[0],
        "frames": [image.name for image in map_.images],
    }


def _origin(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of the files of a map that its landmarks are made from."""
    files = manifest.whole_files
    used = (name for name in files if name == FEATURES_NAME or name.startswith(f"{MODEL_FOLDER}/"))
    return {name: files[name].sha256 for name in sorted(used)}


def _camera_rows(images: Sequence[MapImage]) -> tuple[list[dict[str, Any]], NDArray[np.int32]]:
    """The different cameras of images, and which one each image (M,) has."""
    values = [camera_values(image.camera) for image in images]
    cameras: list[dict[str, Any]] = []
    for value in values:
        if value not in cameras:
            cameras.append(value)
    return cameras, np.array([cameras.index(value) for value in values], np.int32)


def _pose_rows(images: Sequence[MapImage]) -> NDArray[np.float64]:
    """Poses (M, 7): quaternion, scalar first, and translation of ``map_from_camera``."""
    poses = [image.map_from_camera for image in images]
    return np.array([[*pose.quaternion, *pose.translation] for pose in poses])


def _read_description(content: bytes) -> _Description:
    path = DESCRIPTION_NAME
    try:
        values = json.loads(content[:_MOST_DESCRIPTION_BYTES])
    except (ValueError, RecursionError) as error:
        raise MapError(f"cannot read {path} ({error}){_AGAIN}") from error
    if not isinstance(values, dict) or "schema_version" not in values:
        raise MapError(f"{path} does not describe landmarks{_AGAIN}")
    if values["schema_version"] != SCHEMA_VERSION:
        raise MapError(
            f"{path} has schema version {values['schema_version']!r}, this program reads {SCHEMA_VERSION}{_AGAIN}"
        )
    try:
        return _parse(values)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError, CalibrationError) as error:
        raise MapError(f"{path} lacks or garbles an entry ({error}){_AGAIN}") from error


def _parse(values: Mapping[str, Any]) -> _Description:
    extractor, counts, names = values["extractor"], values["counts"], values["frames"]
    if not all(type(counts[key]) is int and counts[key] > 0 for key in ("points", "landmarks", "frames")):
        raise ValueError("'counts' must be positive numbers")
    if not all(isinstance(name, str) and len(name) <= _LONGEST_NAME for name in names):
        raise ValueError("'frames' must be names of images")
    if len(names) != counts["frames"] or len(set(names)) != len(names):
        raise ValueError(f"'frames' must be {counts['frames']} different names")
    if counts["landmarks"] > MOST_LANDMARKS or type(extractor["descriptor_dim"]) is not int:
        raise ValueError("there are too many landmarks, or no length of descriptors")
    return _Description(
        LandmarkConfig.from_mapping(values["config"]),
        {key: extractor[key] for key in ("name", "sha256", "descriptor_dim")},
        dict(values["made_from"]),
        counts,
        [_make_camera(camera) for camera in values["cameras"]],
        names,
    )


def _make_camera(values: Mapping[str, Any]) -> pycolmap.Camera:
    """The camera of plain values. Raises ValueError, TypeError, KeyError or CalibrationError."""
    width, height, params = values["width"], values["height"], values["params"]
    if type(width) is not int or type(height) is not int:
        raise ValueError("the size of a camera must be whole numbers")
    check_plausible_camera(width, height, params)
    if len(params) != len(pycolmap.Camera.create_from_model_name(0, values["model"], 1.0, 1, 1).params):
        raise ValueError(f"a camera has {len(params)} parameters, which {values['model']} has not")
    return pycolmap.Camera(model=values["model"], width=width, height=height, params=params)


def _check_origin(description: _Description, manifest: Manifest) -> None:
    """Refuse landmarks of another version of the map, or of another extractor than it states."""
    if description.made_from != _origin(manifest):
        raise MapError(f"the landmarks were made from another version of the map '{manifest.name}'{_AGAIN}")
    stated, made_with = manifest.models.get("extractor"), description.extractor
    if stated is None or (stated.name, stated.sha256) != (made_with["name"], made_with["sha256"]):
        raise MapError(
            f"the landmarks were made with the extractor '{made_with['name']}', the map '{manifest.name}' with "
            f"'{stated.name if stated else 'none'}' or other weights of it{_AGAIN}"
        )


def _read_points(content: bytes, description: _Description) -> PointTable:
    count = description.counts["points"]
    expected: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "offset": ("<f8", (3,)),
        "xyz": ("<f4", (count, 3)),
        "label": ("<i2", (count,)),
        "descriptor": ("<f2", (count, description.extractor["descriptor_dim"])),
        "error": ("<f4", (count,)),
    }
    arrays = read_arrays(POINTS_NAME, content, expected, _AGAIN)
    labels = arrays["label"].astype(np.int32)
    if not np.array_equal(np.unique(labels), np.arange(BACKGROUND + 1, description.counts["landmarks"] + 1)):
        raise MapError(
            f"{POINTS_NAME}: not every landmark from 1 to {description.counts['landmarks']} has points{_AGAIN}"
        )
    xyz = arrays["xyz"].astype(np.float64) + arrays["offset"]
    if not is_plausible_position(xyz) or np.any(arrays["error"] < 0.0):
        raise MapError(f"{POINTS_NAME} holds points that are too far away, or errors below 0{_AGAIN}")
    return PointTable(xyz, labels, arrays["descriptor"], arrays["error"])


def _read_frames(
    content: bytes, description: _Description, points: PointTable
) -> tuple[list[MapImage], NDArray[np.int32]]:
    """The frames, and the row of that of each landmark."""
    count = description.counts["frames"]
    expected: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "map_from_camera": ("<f8", (count, 7)),
        "camera": ("<i4", (count,)),
        "first_row": ("<i8", (count + 1,)),
        "point_rows": ("<i4", (None,)),
        "landmark_frame": ("<i4", (description.counts["landmarks"],)),
    }
    arrays = read_arrays(FRAMES_NAME, content, expected, _AGAIN)
    _check_frames(arrays, len(points.xyz), count, len(description.cameras))
    rows = np.split(arrays["point_rows"], arrays["first_row"][1:-1])
    frames = [
        make_frame(name, SE3.from_quaternion(pose[:4], pose[4:]), description.cameras[camera], own, points)
        for name, pose, camera, own in zip(
            description.names, arrays["map_from_camera"], arrays["camera"], rows, strict=True
        )
    ]
    return frames, arrays["landmark_frame"]


def _check_frames(arrays: Mapping[str, NDArray[Any]], num_points: int, num_frames: int, num_cameras: int) -> None:
    """Refuse rows of what is not there, and poses that are none."""
    first, poses = arrays["first_row"], arrays["map_from_camera"]
    if first[0] != 0 or first[-1] != len(arrays["point_rows"]) or np.any(np.diff(first) <= 0):
        raise MapError(f"{FRAMES_NAME}: the frames do not share out the rows of their points{_AGAIN}")
    for name, count in (("point_rows", num_points), ("camera", num_cameras), ("landmark_frame", num_frames)):
        if np.any((arrays[name] < 0) | (arrays[name] >= count)):
            raise MapError(f"{FRAMES_NAME}: '{name}' names one of more than the {count} that there are{_AGAIN}")
    lengths = np.linalg.norm(np.clip(poses[:, :4], -2.0, 2.0), axis=1)  # the square of a huge one overflows
    if not is_plausible_position(poses[:, 4:]) or np.any(np.abs(lengths - 1.0) > _UNIT_LENGTH):
        raise MapError(f"{FRAMES_NAME}: the pose of a frame is not a pose{_AGAIN}")
