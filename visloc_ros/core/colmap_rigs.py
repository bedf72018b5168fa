"""The rigs of COLMAP's models (since 3.12): read from ``rigs.bin`` or ``rigs.txt``, and kept in copies of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import pycolmap

from visloc_ros.core.colmap_model import Cursor
from visloc_ros.core.colmap_text import finite_numbers, is_text_model, read_model, records
from visloc_ros.core.errors import CalibrationError, MapError
from visloc_ros.core.files import exists
from visloc_ros.core.geometry import SE3
from visloc_ros.core.rig import Rig, RigCamera

_CAMERA = int(pycolmap.SensorType.CAMERA)

ModelRig = Mapping[int, SE3 | None]
"""``camera_from_rig`` of a rig's cameras by their ids, the reference, which is the rig, first; None: not known."""


def read_model_rigs(folder: Path) -> list[ModelRig]:
    """Read the rigs of a model; one from before COLMAP had rigs has none. Raises MapError that names a broken file."""
    is_text = is_text_model(folder)
    path = folder / ("rigs.txt" if is_text else "rigs.bin")
    if not exists(path):
        return []
    return list(records(path, _parse_rig)) if is_text else _read_rigs(Cursor(path))


def rig_of_model(folder: Path) -> Rig:
    """The one rig of several cameras in a model, with their intrinsics.

    Cameras are named as the folder of their images, ``camera<id>`` where it is not theirs alone. Raises MapError on a
    broken model, CalibrationError where it has no such rig, several, or one whose places are not known.
    """
    rigs = [rig for rig in read_model_rigs(folder) if len(rig) > 1]
    if len(rigs) != 1:
        raise CalibrationError(f"the model {folder} has {len(rigs)} rigs of several cameras: one is needed")
    model = read_model(folder)
    folders = {
        camera_id: {PurePosixPath(image.name).parent.name for image in model.images if image.camera_id == camera_id}
        for camera_id in model.cameras
    }
    cameras = {}
    for camera_id, camera_from_rig in rigs[0].items():
        name = _name_of(camera_id, folders)
        if camera_from_rig is None or camera_id not in model.cameras:
            raise CalibrationError(f"the place of the camera '{name}' is not known in the model {folder}")
        cameras[name] = RigCamera(camera_from_rig.inverse, model.cameras[camera_id])
    return Rig(cameras)


def _name_of(camera_id: int, folders: Mapping[int, Collection[str]]) -> str:
    own = list(folders.get(camera_id, ()))
    is_own = len(own) == 1 and own[0] and all(own[0] not in names for key, names in folders.items() if key != camera_id)
    return own[0] if is_own else f"camera{camera_id}"


def _read_rigs(cursor: Cursor) -> list[ModelRig]:
    rigs: list[ModelRig] = []
    for _ in range(cursor.take_int("<u8")):
        cursor.take_int("<u4")
        rig: dict[int, SE3 | None] = {}
        for row in range(cursor.take_int("<u4")):
            kind, sensor_id = cursor.take_int("<i4"), cursor.take_int("<u4")
            place: SE3 | None = SE3.identity()
            if row > 0:
                place = _place(cursor.take("<f8", 7), cursor.path) if cursor.take_int("u1") else None
            if kind == _CAMERA:
                rig[sensor_id] = place
        rigs.append(rig)
    cursor.finish()
    return rigs


def _place(values: np.ndarray, path: Path) -> SE3:
    if not np.all(np.isfinite(values)) or abs(np.linalg.norm(values[:4]) - 1.0) > 1e-3:
        raise MapError(f"{path} holds a place on a rig that is none: copy the model again")
    return SE3.from_quaternion(values[:4].astype(np.float64), values[4:].astype(np.float64))


def _parse_rig(line: str, _: str) -> ModelRig:
    _, count, *fields = line.split()
    rig: dict[int, SE3 | None] = {}
    for row in range(int(count)):
        kind, sensor_id, *fields = fields
        place: SE3 | None = SE3.identity()
        if row > 0:
            has_place, *fields = fields
            place = None
            if int(has_place):
                values, fields = finite_numbers(fields[:7]), fields[7:]
                place = SE3.from_quaternion(values[:4], values[4:])
        if kind == pycolmap.SensorType.CAMERA.name:
            rig[int(sensor_id)] = place
    if fields:
        raise ValueError(line)
    return rig


def copy_rigs(source: pycolmap.Reconstruction, target: pycolmap.Reconstruction, image_ids: Collection[int]) -> None:
    """Give an empty reconstruction the cameras, rigs and frames of another one for these images of it, in order."""
    for camera in source.cameras.values():
        target.add_camera(camera)
    for rig in source.rigs.values():
        target.add_rig(rig)
    for frame_id in dict.fromkeys(source.images[one].frame_id for one in image_ids):  # models list images by frames
        frame = source.frames[frame_id]
        copied = pycolmap.Frame(frame_id=frame_id, rig_id=frame.rig_id)
        copied.rig_from_world = frame.rig_from_world
        for one in frame.data_ids:
            if one.id in image_ids:
                copied.add_data_id(one)
        target.add_frame(copied)
