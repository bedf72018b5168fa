"""The result files of a way of searching a scene: poses for the servers, and what each search found and how.

``SEARCH.txt`` has a line ``name qw qx qy qz tx ty tz``, ``camera_from_map``, for each image found, ``SEARCH.log`` a
line ``name reference inliers order``, ``SEARCH.failed`` the names of the others. ``SEARCH_full.log`` has a line for
every search, with the queries within each threshold so far, of those with a truth; a failure is within none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from visloc_field.listings import pose_of, read_rows
from visloc_field.run_files import QueryRecord
from visloc_field.scene import BenchmarkScene
from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.evaluation.metrics import is_within, pose_errors

UNKNOWN, FOUND = "-", "FOUND"
_FORM = "NAME QW QX QY QZ TX TY TZ"


def write_result_files(folder: Path, search: str, scene: BenchmarkScene, records: Mapping[str, QueryRecord]) -> None:
    """Write all result files of a way of searching a scene. Raises OutputError."""
    sent = [(query.result_name, records.get(query.name)) for query in scene.queries if query.result_name is not None]
    found = [(name, one) for name, one in sent if one is not None and one.map_from_camera is not None]
    failed = [name for name, one in sent if one is None or one.map_from_camera is None]
    write_result_file(folder / f"{search}.txt", result_poses(scene, records))
    _write(folder / f"{search}.log", (f"{name} {_found(one)}" for name, one in found))
    _write(folder / f"{search}.failed", failed)
    _write(folder / f"{search}_full.log", _full_log(scene, records))


def result_poses(scene: BenchmarkScene, records: Mapping[str, QueryRecord]) -> dict[str, SE3]:
    """Poses ``map_from_camera`` of the queries that belong in the result file, by the server's names."""
    poses: dict[str, SE3] = {}
    for query in scene.queries:
        record = records.get(query.name)
        if query.result_name is not None and record is not None and record.map_from_camera is not None:
            poses[query.result_name] = record.map_from_camera
    return poses


def write_result_file(path: Path, map_from_camera: Mapping[str, SE3]) -> None:
    """Write poses ``map_from_camera`` by the names that the server knows. Raises OutputError."""
    _write(path, (_pose(name, pose.inverse) for name, pose in map_from_camera.items()))


def read_result_file(path: Path) -> dict[str, SE3]:
    """Poses ``map_from_camera`` by name. Raises SourceError that names the broken line."""
    poses: dict[str, SE3] = {}
    for row in read_rows(path):
        name = row.words[0]
        if name in poses:
            raise SourceError(f"{path}:{row.number} has the image '{name}' a second time: remove one of the lines")
        poses[name] = pose_of(row, row.numbers(1, 7, _FORM), _FORM).inverse
    return poses


def _pose(name: str, camera_from_map: SE3) -> str:
    values = (*camera_from_map.quaternion, *camera_from_map.translation)
    return f"{name} {' '.join(repr(float(value)) for value in values)}"


def _found(record: QueryRecord) -> str:
    return f"{record.reference or UNKNOWN} {record.inliers} {record.order}"


def _full_log(scene: BenchmarkScene, records: Mapping[str, QueryRecord]) -> Iterator[str]:
    """A heading, and a line for each query that was searched."""
    within = [f"within_{distance:g}m_{angle:g}deg" for distance, angle in scene.thresholds]
    yield " ".join(("# name condition result reference inliers order search_ms position_m rotation_deg", *within))
    searched = [query for query in scene.queries if query.name in records]
    truths = [query.map_from_camera for query in searched]
    errors = pose_errors([records[query.name].map_from_camera for query in searched], truths)
    counts = np.cumsum([is_within(errors, *threshold) for threshold in scene.thresholds], axis=1).T
    with_truth = np.cumsum([truth is not None for truth in truths])
    for query, error, count, total in zip(searched, errors, counts, with_truth, strict=True):
        record = records[query.name]
        words = (query.name, query.condition or UNKNOWN, record.reason or FOUND, _found(record))
        figures = (f"{record.search_ms:.1f}", *(UNKNOWN if np.isnan(value) else f"{value:.4f}" for value in error))
        yield " ".join((*words, *figures, *(f"{one}/{total}" for one in count)))


def _write(path: Path, lines: Iterable[str]) -> None:
    with atomic_write(path) as file:
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
