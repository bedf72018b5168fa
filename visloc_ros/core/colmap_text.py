"""COLMAP's text model (cameras.txt, images.txt, points3D.txt) as the same arrays that the binary reader gives.

The layout is the one COLMAP documents under "Output Format": an image takes two lines, the second may be empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pycolmap

from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.colmap_model import ColmapModel, ModelImage, read_cameras, read_colmap_model
from visloc_ros.core.errors import CalibrationError, MapError
from visloc_ros.core.files import COPY_AGAIN, LARGEST_MODEL_BYTES, read_text
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import FARTHEST

_Record = TypeVar("_Record")
_MAX_QUATERNION_ERROR = 1e-3


def read_model(folder: Path) -> ColmapModel:
    """Read a model, binary where there is a binary one, else text. Raises MapError that names the broken file."""
    return read_text_model(folder) if is_text_model(folder) else read_colmap_model(folder)


def read_model_cameras(folder: Path) -> dict[int, pycolmap.Camera]:
    """Read the cameras of a model by their ids, as ``read_model`` does. Raises MapError."""
    return read_text_cameras(folder / "cameras.txt") if is_text_model(folder) else read_cameras(folder / "cameras.bin")


def is_text_model(folder: Path) -> bool:
    """Whether a model is read as text: there is no binary one."""
    return not (folder / "images.bin").exists() and (folder / "images.txt").exists()


def read_text_model(folder: Path) -> ColmapModel:
    """Read a text model. Raises MapError that names the missing, truncated or inconsistent file and its line."""
    cameras = read_text_cameras(folder / "cameras.txt")
    images = read_text_images(folder / "images.txt")
    for image in images:
        if image.camera_id not in cameras:
            raise MapError(f"{folder / 'images.txt'}: image '{image.name}' has the unknown camera {image.camera_id}")
    points = list(records(folder / "points3D.txt", _parse_point))
    ids, values, lengths = zip(*points, strict=True) if points else ((), (), ())
    numbers = np.array(values, dtype=np.float64).reshape(-1, 7)
    return ColmapModel(
        cameras,
        images,
        np.array(ids, dtype=np.int64),
        np.ascontiguousarray(numbers[:, :3]),
        numbers[:, 6].copy(),
        np.array(lengths, dtype=np.int64),
    )


def read_text_cameras(path: Path) -> dict[int, pycolmap.Camera]:
    """Read the cameras of a text model by their ids. Raises MapError that names the broken line."""
    return dict(records(path, _parse_camera))


def read_text_images(path: Path) -> tuple[ModelImage, ...]:
    """Read the images of a text model. Raises MapError that names the broken line."""
    return tuple(records(path, _parse_image, with_second_line=True))


def records(path: Path, parse: Callable[[str, str], _Record], *, with_second_line: bool = False) -> Iterator[_Record]:
    """What ``parse`` makes of each line, with the one after it where that belongs to it. Raises MapError."""
    lines = enumerate(read_text(path, MapError, LARGEST_MODEL_BYTES, COPY_AGAIN).split("\n"), 1)
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            yield parse(line, next(lines)[1] if with_second_line else "")
        except CalibrationError as error:
            raise MapError(f"{path} is broken at line {number}: {error}") from error
        except (ValueError, IndexError, OverflowError, StopIteration) as error:
            raise MapError(
                f"{path} is truncated or broken at line {number}: copy the map again or rebuild it"
            ) from error


def _parse_camera(line: str, _: str) -> tuple[int, pycolmap.Camera]:
    camera_id, model, width, height, *values = line.split()
    return int(camera_id), camera_from_params(model, int(width), int(height), finite_numbers(values).tolist())


def _parse_image(line: str, points_line: str) -> ModelImage:
    fields = line.split(maxsplit=9)
    pose = finite_numbers(fields[1:8])
    if len(pose) != 7 or abs(np.linalg.norm(pose[:4]) - 1.0) > _MAX_QUATERNION_ERROR:
        raise ValueError(line)
    map_from_camera = SE3.from_quaternion(pose[:4], pose[4:]).inverse
    triples = points_line.split()
    keypoints = np.column_stack((finite_numbers(triples[0::3]), finite_numbers(triples[1::3])))
    point_ids = np.array(triples[2::3], dtype=np.int64)
    if len(point_ids) != len(keypoints):
        raise ValueError(points_line)
    return ModelImage(fields[9].strip(), map_from_camera, int(fields[8]), keypoints, point_ids)


def _parse_point(line: str, _: str) -> tuple[int, Array, int]:
    point_id, *fields = line.split()
    values = finite_numbers(fields[:7])
    if len(values) != 7 or len(fields) % 2 == 0:
        raise ValueError(line)
    return int(point_id), values, (len(fields) - 7) // 2


def finite_numbers(fields: list[str]) -> Array:
    """Numbers (N,) of a line. Raises ValueError where one is none, or larger than any coordinate."""
    values = np.array(fields, dtype=np.float64)
    if not np.all(np.abs(values) <= FARTHEST):
        raise ValueError(fields)
    return values
