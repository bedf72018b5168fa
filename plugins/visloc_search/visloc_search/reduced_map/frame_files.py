"""Frames as arrays: poses, cameras, and the rows of the points that each shows; with checks of these.

Coordinates of points are in single precision from the middle of the map, wherever its origin is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import MapImage
from visloc_ros.core.map_writer import camera_values
from visloc_ros.core.plausibility import is_plausible_position
from visloc_search.reduced_map.array_files import Shape
from visloc_search.reduced_map.frames import Points, make_frame

_LONGEST_NAME = 4096
_UNIT_LENGTH = 1e-3  # how far the length of a quaternion may be from one


def frame_arrays(images: Sequence[MapImage]) -> dict[str, NDArray[Any]]:
    """Poses (M, 7), rows of cameras (M,), and all rows of points (R,), of which ``first_row`` (M + 1,) begins each."""
    return {
        "map_from_camera": _pose_rows(images),
        "camera": camera_rows(images)[1],
        "first_row": np.cumsum([0, *(len(image.point_rows) for image in images)]).astype(np.int64),
        "point_rows": np.concatenate([image.point_rows for image in images]).astype(np.int32),
    }


def expected_arrays(count: int) -> dict[str, tuple[str, Shape]]:
    """Types and shapes of the arrays of a number of frames, as ``read_arrays`` takes them."""
    return {
        "map_from_camera": ("<f8", (count, 7)),
        "camera": ("<i4", (count,)),
        "first_row": ("<i8", (count + 1,)),
        "point_rows": ("<i4", (None,)),
    }


def make_frames(
    file: str,
    arrays: Mapping[str, NDArray[Any]],
    names: Sequence[str],
    cameras: Sequence[pycolmap.Camera],
    points: Points,
    advice: str,
) -> list[MapImage]:
    """The frames of these names. Raises MapError with ``advice`` at the end of its message."""
    first, poses = arrays["first_row"], arrays["map_from_camera"]
    check_shares(file, arrays, advice)
    check_rows(file, arrays, {"point_rows": len(points.xyz), "camera": len(cameras)}, advice)
    lengths = np.linalg.norm(np.clip(poses[:, :4], -2.0, 2.0), axis=1)  # the square of a huge one overflows
    if not is_plausible_position(poses[:, 4:]) or np.any(np.abs(lengths - 1.0) > _UNIT_LENGTH):
        raise MapError(f"{file}: the pose of a frame is not a pose{advice}")
    return [
        make_frame(name, SE3.from_quaternion(pose[:4], pose[4:]), cameras[camera], own, points)
        for name, pose, camera, own in zip(
            names, poses, arrays["camera"], np.split(arrays["point_rows"], first[1:-1]), strict=True
        )
    ]


def check_shares(file: str, arrays: Mapping[str, NDArray[Any]], advice: str) -> None:
    """Refuse rows of points that are not, one part after the other, those of the frames. Raises MapError."""
    first = arrays["first_row"]
    if first[0] != 0 or first[-1] != len(arrays["point_rows"]) or np.any(np.diff(first) <= 0):
        raise MapError(f"{file}: the frames do not share out the rows of their points{advice}")


def check_rows(file: str, arrays: Mapping[str, NDArray[Any]], counts: Mapping[str, int], advice: str) -> None:
    """Refuse arrays of rows, by name, of more than the ``counts`` that there are. Raises MapError."""
    for name, count in counts.items():
        if np.any((arrays[name] < 0) | (arrays[name] >= count)):
            raise MapError(f"{file}: '{name}' names one of more than the {count} that there are{advice}")


def check_names(names: Any, count: int) -> list[str]:
    """The names of ``count`` frames. Raises ValueError for anything else."""
    if not all(isinstance(name, str) and len(name) <= _LONGEST_NAME for name in names):
        raise ValueError("'frames' must be names of images")
    if len(names) != count or len(set(names)) != len(names):
        raise ValueError(f"'frames' must be {count} different names")
    return list(names)


def camera_rows(images: Sequence[MapImage]) -> tuple[list[dict[str, Any]], NDArray[np.int32]]:
    """The different cameras of images, and which one each image (M,) has."""
    values = [camera_values(image.camera) for image in images]
    cameras: list[dict[str, Any]] = []
    for value in values:
        if value not in cameras:
            cameras.append(value)
    return cameras, np.array([cameras.index(value) for value in values], np.int32)


def make_camera(values: Mapping[str, Any]) -> pycolmap.Camera:
    """The camera of plain values. Raises ValueError, TypeError, KeyError or CalibrationError."""
    width, height, params = values["width"], values["height"], values["params"]
    if type(width) is not int or type(height) is not int:
        raise ValueError("the size of a camera must be whole numbers")
    return camera_from_params(values["model"], width, height, params)


def _pose_rows(images: Sequence[MapImage]) -> NDArray[np.float64]:
    """Poses (M, 7): quaternion, scalar first, and translation of ``map_from_camera``."""
    poses = [image.map_from_camera for image in images]
    return np.array([[*pose.quaternion, *pose.translation] for pose in poses])


def coordinate_arrays(xyz: Array) -> dict[str, NDArray[Any]]:
    """The middle ``offset`` (3,), and coordinates ``xyz`` (P, 3) from there, of points (P, 3)."""
    offset = (xyz.min(axis=0) + xyz.max(axis=0)) / 2.0
    return {"offset": offset, "xyz": (xyz - offset).astype(np.float32)}


def expected_coordinates(count: int) -> dict[str, tuple[str, Shape]]:
    """Types and shapes of the arrays of a number of points, as ``read_arrays`` takes them."""
    return {"offset": ("<f8", (3,)), "xyz": ("<f4", (count, 3))}


def coordinates(file: str, arrays: Mapping[str, NDArray[Any]], advice: str) -> Array:
    """The points (P, 3). Raises MapError with ``advice`` at the end of its message."""
    xyz: Array = arrays["xyz"].astype(np.float64) + arrays["offset"]
    if not is_plausible_position(xyz):
        raise MapError(f"{file} holds points that are too far away{advice}")
    return xyz
