"""COLMAP's binary model (cameras.bin, images.bin, points3D.bin) as NumPy arrays; written with a check for a full disk.

pycolmap reads these files into one Python object per point, and aborts on some broken ones; this reader gives
arrays, and names the broken file. The layout is the one COLMAP documents under "Output Format". COLMAP's own
writer ignores write errors.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
from numpy.typing import DTypeLike, NDArray

from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import CalibrationError, MapError
from visloc_ros.core.files import COPY_AGAIN, LARGEST_MODEL_BYTES, read_bytes
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import FARTHEST, is_plausible_position

_POINT2D = np.dtype([("xy", "<f8", 2), ("point_id", "<i8")])
_POINT3D = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track_length", "<u8")])
_TRACK_LENGTH_OFFSET = _POINT3D.itemsize - 8
_TRACK_ELEMENT_BYTES = 8
_MAX_NAME_BYTES = 4096
_TRANSFORM_BYTES = 7 * 8


@dataclass(frozen=True, eq=False)
class ModelImage:
    """One registered image: pose, camera, keypoints (N, 2) in COLMAP pixels, 3D point id (N,) or -1."""

    name: str
    map_from_camera: SE3
    camera_id: int
    keypoints: Array
    point_ids: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ColmapModel:
    """A sparse reconstruction: cameras by id, images, and points (P, 3) with ids, errors in pixels, track lengths."""

    cameras: dict[int, pycolmap.Camera]
    images: tuple[ModelImage, ...]
    point_ids: NDArray[np.int64]
    points: Array
    point_errors: Array
    track_lengths: NDArray[np.int64]

    def rows_of(self, point_ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """Rows in ``points`` of 3D point ids (N,), -1 where an id is negative. Raises KeyError on an unknown id."""
        order, ids = self._sorted_ids
        seen = np.flatnonzero(point_ids >= 0)
        places = np.searchsorted(ids, point_ids[seen])
        known = places < len(ids)
        known[known] = ids[places[known]] == point_ids[seen][known]
        if not np.all(known):
            raise KeyError(int(point_ids[seen][~known][0]))
        rows = np.full(len(point_ids), -1, dtype=np.int32)
        rows[seen] = order[places]
        return rows

    @cached_property
    def _sorted_ids(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        order = np.argsort(self.point_ids)
        return order, self.point_ids[order]


def read_colmap_model(folder: Path) -> ColmapModel:
    """Read a binary model. Raises MapError that names a missing, truncated or inconsistent file."""
    cameras = read_cameras(folder / "cameras.bin")
    images = read_images(folder / "images.bin")
    for image in images:
        if image.camera_id not in cameras:
            raise MapError(f"{folder / 'images.bin'}: image '{image.name}' has the unknown camera {image.camera_id}")
    points = _read_points(folder / "points3D.bin")
    return ColmapModel(
        cameras,
        images,
        points["id"].astype(np.int64),
        np.ascontiguousarray(points["xyz"]),
        points["error"].copy(),
        points["track_length"].astype(np.int64),
    )


class Cursor:
    """Reads values one after the other from a file held in memory, and never past its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.data = read_bytes(path, MapError, LARGEST_MODEL_BYTES, COPY_AGAIN)

    def take(self, kind: DTypeLike, count: int = 1) -> NDArray[Any]:
        """Take ``count`` values of a type; the array shares the file's memory."""
        dtype = np.dtype(kind)
        if count < 0 or self.offset + dtype.itemsize * count > len(self.data):
            raise self.truncated()
        values = np.frombuffer(self.data, dtype, count, self.offset)
        self.offset += dtype.itemsize * count
        return values

    def take_int(self, kind: DTypeLike) -> int:
        """Take one integer."""
        return int(self.take(kind)[0])

    def take_name(self) -> str:
        """Take a zero-terminated string."""
        end = self.data.find(b"\0", self.offset, self.offset + _MAX_NAME_BYTES)
        if end < 0:
            raise self.truncated()
        text = self.data[self.offset : end]
        self.offset = end + 1
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MapError(f"{self.path} holds an unreadable image name: copy the map again") from error

    def finish(self) -> None:
        """Check that nothing is left over."""
        if self.offset != len(self.data):
            raise MapError(f"{self.path} has {len(self.data) - self.offset} bytes too many: copy the map again")

    def truncated(self) -> MapError:
        """The error of a file that ends too early."""
        return MapError(f"{self.path} is truncated or broken: copy the map again or rebuild it")


def read_cameras(path: Path) -> dict[int, pycolmap.Camera]:
    """Read the cameras of a binary model by their ids. Raises MapError."""
    cursor = Cursor(path)
    cameras = {}
    for _ in range(cursor.take_int("<u8")):
        camera_id = cursor.take_int("<u4")
        cameras[camera_id] = _read_camera(cursor)
    cursor.finish()
    return cameras


def _read_camera(cursor: Cursor) -> pycolmap.Camera:
    model_id = cursor.take_int("<i4")
    width, height = (int(side) for side in cursor.take("<u8", 2))
    try:
        model = pycolmap.CameraModelId(model_id)
        size = len(pycolmap.Camera.create_from_model_id(0, model, 1.0, 1, 1).params)
    except (ValueError, IndexError) as error:
        raise MapError(f"{cursor.path} has the unknown camera model {model_id}: rebuild the map") from error
    params = cursor.take("<f8", size)
    try:
        return camera_from_params(model.name, width, height, params.tolist())
    except CalibrationError as error:
        raise MapError(f"{cursor.path} holds a camera with impossible values ({error}): rebuild the map") from error


def read_images(path: Path) -> tuple[ModelImage, ...]:
    """Read the images of a binary model. Raises MapError."""
    cursor = Cursor(path)
    images = tuple(_read_image(cursor) for _ in range(cursor.take_int("<u8")))
    cursor.finish()
    return images


def _read_image(cursor: Cursor) -> ModelImage:
    cursor.take_int("<u4")
    pose = cursor.take("<f8", 7).astype(np.float64)
    camera_id = cursor.take_int("<u4")
    name = cursor.take_name()
    points = cursor.take(_POINT2D, cursor.take_int("<u8"))
    if not is_plausible_position(pose[4:]) or not abs(np.linalg.norm(pose[:4]) - 1.0) <= 1e-3:
        raise MapError(f"{cursor.path}: the pose of image '{name}' is not a pose: rebuild the map")
    camera_from_map = SE3.from_quaternion(pose[:4], pose[4:])
    return ModelImage(name, camera_from_map.inverse, camera_id, points["xy"], points["point_id"])


def _read_points(path: Path) -> NDArray[np.void]:
    cursor = Cursor(path)
    offsets = _record_offsets(cursor, cursor.take_int("<u8"))
    raw = np.frombuffer(cursor.data, np.uint8)
    records = raw[offsets[:, None] + np.arange(_POINT3D.itemsize)]
    points: NDArray[np.void] = records.reshape(-1).view(_POINT3D)
    if not is_plausible_position(points["xyz"]):
        raise MapError(f"{path} holds points that are not finite, or farther away than {FARTHEST:g}: rebuild the map")
    return points


def _record_offsets(cursor: Cursor, count: int) -> NDArray[np.int64]:
    # Each record says how long it is, so only its length is read here, one after the other; the rest is gathered.
    data, offset, end = cursor.data, cursor.offset, len(cursor.data)
    if count * _POINT3D.itemsize > end:
        raise cursor.truncated()
    read_length = struct.Struct("<Q").unpack_from
    offsets = np.empty(count, dtype=np.int64)
    for row in range(count):
        if offset + _POINT3D.itemsize > end:
            raise cursor.truncated()
        offsets[row] = offset
        offset += _POINT3D.itemsize + _TRACK_ELEMENT_BYTES * read_length(data, offset + _TRACK_LENGTH_OFFSET)[0]
    if offset > end:
        raise cursor.truncated()
    cursor.offset = offset
    cursor.finish()
    return offsets


def write_model(folder: Path, reconstruction: pycolmap.Reconstruction) -> None:
    """Write a reconstruction as a binary model into a new folder. Raises OSError where the disk does not take it."""
    folder.mkdir()
    failure: ValueError | None = None
    try:
        reconstruction.write_binary(folder)
    except ValueError as error:  # a file could not be opened
        failure = error
    for name, size in _sizes(reconstruction).items():
        _check_size(folder / name, size)
    if failure is not None:
        raise OSError(errno.EIO, str(failure).splitlines()[0], str(folder))


def _check_size(path: Path, size: int) -> None:
    """Raise the error of the disk where a file is shorter than it must be."""
    with path.open("ab") as file:
        missing = size - file.tell()
        if missing > 0:
            file.write(bytes(missing))  # where the disk is full, this says so
            raise OSError(errno.EIO, "it could not be written to its end", str(path))


def _sizes(reconstruction: pycolmap.Reconstruction) -> Mapping[str, int]:
    """The sizes (bytes) of the files of a model, as COLMAP documents them."""
    rigs, frames, images = reconstruction.rigs.values(), reconstruction.frames.values(), reconstruction.images.values()
    cameras, points = reconstruction.cameras.values(), reconstruction.points3D.values()
    others = [pose for rig in rigs for pose in rig.non_ref_sensors.values()]
    return {
        "cameras.bin": 8 + sum(24 + 8 * len(camera.params) for camera in cameras),
        "rigs.bin": 8 + 16 * len(rigs) + sum(9 + (_TRANSFORM_BYTES if pose is not None else 0) for pose in others),
        "frames.bin": 8 + sum(12 + _TRANSFORM_BYTES + 16 * len(list(frame.data_ids)) for frame in frames),
        "images.bin": 8
        + sum(17 + _TRANSFORM_BYTES + len(image.name.encode()) + 24 * image.num_points2D() for image in images),
        "points3D.bin": 8 + sum(51 + 8 * point.track.length() for point in points),
    }
