"""COLMAP models written with a check for write errors such as a full disk, which COLMAP itself ignores."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pycolmap

_TRANSFORM_BYTES = 7 * 8


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
