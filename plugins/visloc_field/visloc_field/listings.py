"""Parsers for the lists of data sets: lines of words, scenes as folders, cameras and poses as words.

Of VisualSFM's models (NVM, "N-View Match") the cameras are read. Layout as VisualSFM documents it: a line ``NVM_V3``,
the number of cameras, and a line for each: file name, focal length, quaternion (scalar first) of ``camera_from_map``,
camera centre in the map, radial distortion, 0. What follows are points, which are not read: they may be gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pycolmap

from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.colmap_model import ColmapModel
from visloc_ros.core.colmap_text import read_model
from visloc_ros.core.errors import CalibrationError, MapError, SourceError
from visloc_ros.core.files import LARGEST_MODEL_BYTES, check_file, is_folder, read_text
from visloc_ros.core.geometry import SE3, Array

_UNIT_TOLERANCE = 1e-2  # of the length of quaternions that are rounded in the lists
_FORM = "NAME FOCAL QW QX QY QZ X Y Z DISTORTION 0"
_NUMBERS = 10


class Row(NamedTuple):
    """A line of a list: its number and its words."""

    path: Path
    number: int
    words: list[str]

    def broken(self, form: str) -> SourceError:
        """The error for a line that does not have this form."""
        return SourceError(f"{self.path}:{self.number} is no line of the form '{form}': download the file again")

    def numbers(self, first: int, count: int, form: str) -> Array:
        """The last ``count`` words of the line, from the word ``first`` on. Raises SourceError."""
        if len(self.words) != first + count:
            raise self.broken(form)
        try:
            values = np.array(self.words[first:], dtype=np.float64)
        except ValueError as error:
            raise self.broken(form) from error
        if not np.all(np.isfinite(values)):
            raise self.broken(form)
        return values

    def camera(self, first: int, form: str) -> pycolmap.Camera:
        """The camera in the words from ``first`` on: model, width, height, parameters. Raises SourceError."""
        try:
            model, width, height, *params = self.words[first:]
            return camera_from_params(model, int(width), int(height), [float(value) for value in params])
        except (ValueError, CalibrationError) as error:
            raise self.broken(form) from error


def read_rows(path: Path) -> Iterator[Row]:
    """The lines of a list that are neither empty nor comments. Raises SourceError."""
    text = read_text(path, SourceError, advice=": unpack all archives of the data set in the same folder")
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.startswith("#"):
            yield Row(path, number, line.split())


def pose_of(row: Row, values: Array, form: str) -> SE3:
    """The transform of a quaternion (scalar first) and a translation, values (7,). Raises SourceError."""
    if abs(float(np.linalg.norm(values[:4])) - 1.0) > _UNIT_TOLERANCE:
        raise row.broken(form)
    return SE3.from_quaternion(values[:4], values[4:])


def read_query_list(path: Path) -> dict[str, pycolmap.Camera]:
    """Cameras by image name of a list of queries with intrinsics, in its order. Raises SourceError."""
    form = "NAME MODEL WIDTH HEIGHT PARAMETERS"
    cameras: dict[str, pycolmap.Camera] = {}
    for row in read_rows(path):
        name = row.words[0]
        if name in cameras:
            raise SourceError(f"{path}:{row.number} lists the image '{name}' a second time: remove one of the lines")
        cameras[name] = row.camera(1, form)
    return cameras


def read_given_model(folder: Path) -> ColmapModel:
    """The COLMAP model of a data set, binary or text. Raises SourceError."""
    try:
        return read_model(folder)
    except MapError as error:
        raise SourceError(f"the data set's model in {folder} cannot be read: unpack it again ({error})") from error


def choose_scenes(root: Path, asked: Sequence[str], known: Sequence[str], title: str) -> list[str]:
    """The requested scenes, or all existing ones: folders of ``root``. Raises SourceError."""
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise SourceError(f"{title} has no scene '{unknown[0]}'; choose from {', '.join(known)}")
    missing = [name for name in asked if not is_folder(root / name)]
    if missing:
        raise SourceError(f"there is no folder {root / missing[0]}: unpack this scene of {title}, or leave it out")
    there = [name for name in known if is_folder(root / name)]
    if not there:
        raise SourceError(f"{root} holds no scene of {title}: name the folder in which {known[0]} and others lie")
    return list(dict.fromkeys(asked)) or there


def only_scene(asked: Sequence[str], name: str, title: str) -> str:
    """The name of the one scene of a data set. Raises SourceError where another is requested."""
    unknown = [one for one in asked if one != name]
    if unknown:
        raise SourceError(f"{title} is a single scene, so it has no scene '{unknown[0]}': leave --scenes out")
    return name


@dataclass(frozen=True, eq=False)
class NvmCamera:
    """A camera: focal length in pixels, the pose, and VisualSFM's radial distortion, which is that of undistorting."""

    name: str
    focal_px: float
    map_from_camera: SE3
    distortion: float


def read_nvm(path: Path) -> list[NvmCamera]:
    """Read the cameras of an NVM file, of its first model. Raises SourceError."""
    check_file(path, SourceError, LARGEST_MODEL_BYTES, ": unpack all archives of the data set in the same folder")
    try:
        with path.open(encoding="utf-8") as lines:
            return list(_cameras(path, lines))
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {path}: download it again ({error})") from error


def _cameras(path: Path, lines: Iterable[str]) -> Iterator[NvmCamera]:
    rows = (Row(path, number, line.split()) for number, line in enumerate(lines, start=1) if line.strip())
    head = next(rows, None)
    if head is None or not head.words[0].startswith("NVM_V3"):
        raise SourceError(f"{path} is no NVM file of version 3: download it again")
    count = next(rows, Row(path, 2, []))
    if len(count.words) != 1 or not count.words[0].isdecimal():
        raise count.broken("NUMBER OF CAMERAS")
    for _ in range(int(count.words[0])):
        row = next(rows, None)
        if row is None:
            raise SourceError(f"{path} ends before its {count.words[0]} cameras: download it again")
        yield _camera(row)


def _camera(row: Row) -> NvmCamera:
    name = " ".join(row.words[:-_NUMBERS])
    if not name:
        raise row.broken(_FORM)
    values = row.numbers(len(row.words) - _NUMBERS, _NUMBERS, _FORM)
    rotation = pose_of(row, values[1:8], _FORM).rotation
    if values[0] <= 0:
        raise row.broken(_FORM)
    return NvmCamera(name, float(values[0]), SE3(rotation.T, values[5:8]), float(values[8]))
