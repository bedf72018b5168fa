"""Result files as the data sets' servers take them: ``name qw qx qy qz tx ty tz``, poses ``camera_from_map``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.evaluation.benchmarks.listings import pose_of, read_rows

_FORM = "NAME QW QX QY QZ TX TY TZ"


def write_result_file(path: Path, map_from_camera: Mapping[str, SE3]) -> None:
    """Write poses ``map_from_camera`` by the names that the server knows. Raises OutputError."""
    lines = (_line(name, pose.inverse) for name, pose in map_from_camera.items())
    with atomic_write(path) as file:
        file.write_text("".join(lines), encoding="utf-8")


def read_result_file(path: Path) -> dict[str, SE3]:
    """Poses ``map_from_camera`` by name. Raises SourceError that names the broken line."""
    poses: dict[str, SE3] = {}
    for row in read_rows(path):
        name = row.words[0]
        if name in poses:
            raise SourceError(f"{path}:{row.number} has the image '{name}' a second time: take one of the lines out")
        poses[name] = pose_of(row, row.numbers(1, 7, _FORM), _FORM).inverse
    return poses


def _line(name: str, camera_from_map: SE3) -> str:
    values = (*camera_from_map.quaternion, *camera_from_map.translation)
    return f"{name} {' '.join(repr(float(value)) for value in values)}\n"
