"""Results of queries, a JSON line each, written at once, so that an interrupted search continues there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import is_file, read_text
from visloc_ros.core.geometry import SE3
from visloc_ros.core.result_mapping import pose_from_mapping, pose_to_mapping
from visloc_ros.core.types import AnchorPose, Rejection

_FEATURES = "features"


@dataclass(frozen=True, eq=False)
class QueryRecord:
    """A query by its name in the scene: its pose ``map_from_camera`` or why there is none, and the time it took [ms].

    ``search_ms`` is without the features, which all ways of searching share.
    """

    name: str
    map_from_camera: SE3 | None
    reason: str
    search_ms: float

    @staticmethod
    def of(name: str, result: AnchorPose | Rejection) -> QueryRecord:
        """The record of a search's result."""
        search_ms = sum(taken for stage, taken in result.stage_ms.items() if stage != _FEATURES)
        if isinstance(result, AnchorPose):
            return QueryRecord(name, result.map_from_camera, "", search_ms)
        return QueryRecord(name, None, result.reason.value, search_ms)


def append_record(path: Path, record: QueryRecord) -> None:
    """Add a line to a file of records."""
    pose = None if record.map_from_camera is None else pose_to_mapping(record.map_from_camera)
    line = {"name": record.name, "map_from_camera": pose, "reason": record.reason, "search_ms": record.search_ms}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_records(path: Path) -> dict[str, QueryRecord]:
    """Records by name, none where there is no file; half a line at its end, of a search that was killed, is dropped.

    Raises SourceError on a broken line.
    """
    if not is_file(path):
        return {}
    text = read_text(path, SourceError)
    whole, _, half = text.rpartition("\n")
    if half:
        path.write_text(f"{whole}\n" if whole else "", encoding="utf-8")
    records = (_parse(path, number, line) for number, line in enumerate(whole.split("\n"), start=1) if line)
    return {record.name: record for record in records}


def _parse(path: Path, number: int, line: str) -> QueryRecord:
    try:
        values = json.loads(line)
        pose = None if values["map_from_camera"] is None else pose_from_mapping(values["map_from_camera"])
        return QueryRecord(str(values["name"]), pose, str(values["reason"]), float(values["search_ms"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{path}:{number} is no record of a query: remove the file, and the queries are searched again"
        ) from error
