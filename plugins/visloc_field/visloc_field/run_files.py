"""The files of a run by which it continues after an interruption: results of queries, and the settings behind them.

A result is a JSON line, written at once. No run continues one of other settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from visloc_field.scene import BenchmarkScene
from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.files import exists, read_text
from visloc_ros.core.geometry import SE3
from visloc_ros.core.result_mapping import pose_from_mapping, pose_to_mapping
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.execution.content_key import content_key, content_keys

_FEATURES = "features"
SETTINGS_NAME = "settings.json"
_OTHER_FOLDER = "name another --output, or remove this one"


@dataclass(frozen=True, eq=False)
class QueryRecord:
    """A query by its name in the scene: its pose ``map_from_camera`` or why there is none, and the time it took [ms].

    ``search_ms`` is without the features, which all ways of searching share. Of a query that was found, ``reference``
    is the map image that shows most of the same, and ``order`` how many parts of the map were tried until then.
    """

    name: str
    map_from_camera: SE3 | None
    reason: str
    search_ms: float
    reference: str = ""
    inliers: int = 0
    order: int = 0

    @staticmethod
    def of(name: str, result: AnchorPose | Rejection) -> QueryRecord:
        """The record of a search's result."""
        search_ms = sum(taken for stage, taken in result.stage_ms.items() if stage != _FEATURES)
        if isinstance(result, AnchorPose):
            reference = next(iter(result.references), "")
            return QueryRecord(
                name, result.map_from_camera, "", search_ms, reference, result.num_inliers, result.attempts
            )
        return QueryRecord(name, None, result.reason.value, search_ms)


def append_record(path: Path, record: QueryRecord) -> None:
    """Add a line to a file of records."""
    pose = None if record.map_from_camera is None else pose_to_mapping(record.map_from_camera)
    line = asdict(replace(record, map_from_camera=None)) | {"map_from_camera": pose}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_records(path: Path) -> dict[str, QueryRecord]:
    """Records by name, none where there is no file; half a line at its end, of a search that was killed, is dropped.

    Raises SourceError on a broken line.
    """
    if not exists(path):
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
        found = str(values.get("reference", "")), int(values.get("inliers", 0)), int(values.get("order", 0))
        return QueryRecord(str(values["name"]), pose, str(values["reason"]), float(values["search_ms"]), *found)
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{path}:{number} is no record of a query: remove the file, and the queries are searched again"
        ) from error


def keep_settings(folder: Path, config: Mapping[str, Any], scenes: Sequence[BenchmarkScene], made_by: str) -> None:
    """Write the options, which images each scene has, and the key of what makes results of them, into a folder.

    Raises ConfigError where it holds results of other options, other images of a scene, or made otherwise; SourceError
    where an image cannot be read.
    """
    path = folder / SETTINGS_NAME
    earlier = _read(path)
    images = {scene.name: [len(scene.database), len(scene.queries)] for scene in scenes}
    plain = json.loads(json.dumps(config))
    if earlier.get("config", plain) != plain:
        raise ConfigError(f"{folder} holds results of other options, which {path} lists: {_OTHER_FOLDER}")
    if earlier and earlier.get("made_by") != made_by:
        raise ConfigError(
            f"{folder} holds results of another version of this program, of a package or of weights: {_OTHER_FOLDER}"
        )
    known, contents = earlier.get("images", {}), {scene.name: _content_of(scene) for scene in scenes}
    for name, (mapped, queries) in images.items():
        if known.get(name, [mapped, queries]) != [mapped, queries]:
            raise ConfigError(
                f"{folder} holds results of scene '{name}' with {known[name][0]} images of the database and "
                f"{known[name][1]} queries, not {mapped} and {queries}: {_OTHER_FOLDER}"
            )
        if earlier.get("contents", {}).get(name, contents[name]) != contents[name]:
            raise ConfigError(f"{folder} holds results of other images, cameras or poses of '{name}': {_OTHER_FOLDER}")
    contents = earlier.get("contents", {}) | contents
    settings = {"config": plain, "images": known | images, "contents": contents, "made_by": made_by}
    with atomic_write(path) as file:
        file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _content_of(scene: BenchmarkScene) -> str:
    """Identifies all that is given of a scene's images, wherever they lie."""
    styles = [path for image in scene.database for _, path in sorted(image.styles.items())]
    values = [
        content_keys([*(image.path for image in scene.images), *styles]),
        [[image.name, image.camera.model_name, image.camera.params.tolist()] for image in scene.images],
        [image.map_from_camera.matrix.tolist() for image in scene.database],
        None if scene.masks is None else content_key(scene.masks),
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    if not exists(path):
        return {}
    try:
        values = json.loads(read_text(path, ConfigError))
        if not isinstance(values["config"], dict) or not all(len(counts) == 2 for counts in values["images"].values()):
            raise ValueError("it is of another form")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} does not list the options of the results beside it: {_OTHER_FOLDER}") from error
    return dict(values)
