"""The cameras of VisualSFM's models (NVM, "N-View Match").

Layout as VisualSFM documents it: a line ``NVM_V3``, the number of cameras, and a line for each: file name, focal
length, quaternion (scalar first) of ``camera_from_map``, camera centre in the map, radial distortion, 0. What follows
are points, which are not read: they may be gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import LARGEST_MODEL_BYTES, check_file
from visloc_ros.core.geometry import SE3
from visloc_ros.evaluation.benchmarks.listings import Row, pose_of

_FORM = "NAME FOCAL QW QX QY QZ X Y Z DISTORTION 0"
_NUMBERS = 10


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
