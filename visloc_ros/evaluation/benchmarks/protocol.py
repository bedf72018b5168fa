"""The protocol of all data sets: a map of each scene at the given poses, its queries searched, result files, scores.

In the folder of a run, ``maps/SCENE`` are the maps, ``SCENE/SEARCH.jsonl`` what was found of each query,
``SCENE/SEARCH.txt`` the result file. All of it stays when a run is interrupted, and is not done again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from visloc_ros.core.config import Config, plugin_sections, section
from visloc_ros.core.files import is_folder
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.evaluation.benchmarks.frames import open_images
from visloc_ros.evaluation.benchmarks.query_records import QueryRecord, append_record, read_records
from visloc_ros.evaluation.benchmarks.result_files import write_result_file
from visloc_ros.evaluation.benchmarks.run_settings import keep_settings
from visloc_ros.evaluation.benchmarks.scene import BenchmarkScene
from visloc_ros.evaluation.search_comparison import make_engines
from visloc_ros.localization import AnchorConfig
from visloc_ros.localization.strategies.registry import find_strategy, preparation_types
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.sources.named_poses import NamedPoses

Records = dict[str, dict[str, QueryRecord]]
"""Of one scene: records of queries by their name, by the way of searching."""


@dataclass(frozen=True)
class BenchmarkConfig(Config):
    """How scenes are mapped, prepared for each way of searching, by its name, and searched."""

    mapping: MappingConfig = section(MappingConfig)
    preparations: Mapping[str, Config] = plugin_sections(preparation_types)
    anchor: AnchorConfig = section(AnchorConfig)


def run_protocol(
    scenes: Sequence[BenchmarkScene],
    searches: Sequence[str],
    folder: Path,
    config: BenchmarkConfig | None = None,
    progress: Progress | None = None,
) -> dict[str, Records]:
    """Map every scene, and search its queries in all ways; gives the records by scene.

    What earlier runs in the same folder did is kept. The maps of all scenes are prepared together. Raises ConfigError
    where the folder is of a run with other options, and as building, preparing and searching maps do.
    """
    config, progress = config or BenchmarkConfig(), progress or SilentProgress()
    folder.mkdir(parents=True, exist_ok=True)
    keep_settings(folder, config.to_mapping(), scenes)
    maps = [build_scene(scene, folder / "maps", config.mapping, progress) for scene in scenes]
    for search in searches:
        _prepare(maps, search, config, progress)
    records = {
        scene.name: search_scene(scene, path, searches, folder, config.anchor, progress)
        for scene, path in zip(scenes, maps, strict=True)
    }
    _write_joined(scenes, searches, records, folder)
    return records


def folder_name(scene: str) -> str:
    """Name of a scene as that of a folder."""
    return scene.replace("/", "-")


def build_scene(scene: BenchmarkScene, folder: Path, config: MappingConfig, progress: Progress) -> Path:
    """The map of a scene at the given poses of all its database images, built unless it is there."""
    path = folder / folder_name(scene.name)
    if is_folder(path):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    selection = replace(config.selection, rate_hz=0.0, min_motion=0.0)
    poses = NamedPoses({image.name: image.map_from_camera for image in scene.database})
    images = open_images(scene.name, scene.database)
    build_map(images, path, replace(config, selection=selection), reference_poses=poses, progress=progress)
    return path


def search_scene(
    scene: BenchmarkScene,
    map_path: Path,
    searches: Sequence[str],
    folder: Path,
    config: AnchorConfig,
    progress: Progress,
) -> Records:
    """Search those queries of a scene that have not been searched yet, and write the result files."""
    own = folder / folder_name(scene.name)
    own.mkdir(parents=True, exist_ok=True)
    files = {name: own / f"{name}.jsonl" for name in searches}
    records = {name: read_records(path) for name, path in files.items()}
    if any(query.name not in records[name] for query in scene.queries for name in searches):
        _search(scene, open_map(map_path), records, files, config, progress)
    for name in searches:
        write_result_file(own / f"{name}.txt", result_poses(scene, records[name]))
    return records


def result_poses(scene: BenchmarkScene, records: Mapping[str, QueryRecord]) -> dict[str, SE3]:
    """Poses ``map_from_camera`` of the queries that belong in the result file, by the server's names."""
    poses: dict[str, SE3] = {}
    for query in scene.queries:
        record = records.get(query.name)
        if query.result_name is not None and record is not None and record.map_from_camera is not None:
            poses[query.result_name] = record.map_from_camera
    return poses


def _search(
    scene: BenchmarkScene,
    map_: Map,
    records: Records,
    files: Mapping[str, Path],
    config: AnchorConfig,
    progress: Progress,
) -> None:
    """Complete the records; the features of a query are extracted once for all ways of searching."""
    engines = make_engines(map_, list(records), config)
    looking = next(iter(engines.values()))
    left = [query for query in scene.queries if any(query.name not in known for known in records.values())]
    for frame in track(progress, f"search {scene.name}", open_images(scene.name, left), len(left)):
        query = looking.extract(frame)
        for name, engine in engines.items():
            if frame.name in records[name]:
                continue
            record = QueryRecord.of(frame.name, engine.solve(query.for_another_search()))
            append_record(files[name], record)
            records[name][record.name] = record


def _prepare(paths: Sequence[Path], search: str, config: BenchmarkConfig, progress: Progress) -> None:
    """Prepare maps together for a way of searching, unless they are, or need not be."""
    strategy = find_strategy(search)
    if strategy.preparation is not None and not strategy.is_prepared([read_manifest(path) for path in paths]):
        options = config.preparations.get(search) or strategy.preparation()
        strategy.prepare(paths, options, progress)


def _write_joined(
    scenes: Sequence[BenchmarkScene], searches: Sequence[str], records: Mapping[str, Records], folder: Path
) -> None:
    """Write the result files of all scenes as one, for servers that take them so, if all names differ."""
    names = [query.result_name for scene in scenes for query in scene.queries if query.result_name is not None]
    if len(scenes) < 2 or len(set(names)) < len(names):
        return
    for search in searches:
        poses: dict[str, SE3] = {}
        for scene in scenes:
            poses |= result_poses(scene, records[scene.name][search])
        write_result_file(folder / f"{search}.txt", poses)
