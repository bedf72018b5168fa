"""The protocol of all data sets: builds a map of each scene at the given poses, searches its queries, and writes the
result files and scores.

In the folder of a run, ``maps/SCENE`` are the maps, ``SCENE/SEARCH.jsonl`` the results of queries, beside the
result files. All of it stays when a run is interrupted, and is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pycolmap

from visloc_field.result_files import result_poses, write_result_file, write_result_files
from visloc_field.run_files import QueryRecord, append_record, keep_settings, read_records
from visloc_field.scene import BenchmarkScene, DatabaseImage, QueryImage
from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.camera import rescale
from visloc_ros.core.config import Config, plugin_sections, section
from visloc_ros.core.files import is_folder
from visloc_ros.core.geometry import SE3
from visloc_ros.core.manifest import read_manifest
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.evaluation.search_comparison import make_engines
from visloc_ros.execution.engine import Engine, Resources
from visloc_ros.execution.shared_place import Mark, mark_place
from visloc_ros.execution.tasks import artifact_key
from visloc_ros.localization import AnchorConfig
from visloc_ros.localization.searchable_map import find_strategy, preparation_types
from visloc_ros.localization.strategy import Examples
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.sources.folder import FolderSource
from visloc_ros.sources.layouts import StampedImage, first_readable, stamps_at_rate
from visloc_ros.sources.named_poses import NamedPoses

Records = dict[str, dict[str, QueryRecord]]
"""Of one scene: records of queries by their name, by the way of searching."""

_RATE_HZ = 1.0  # nominal: the sets' images are counted, not timed
_NEEDS = Resources(processors=1.0, memory_bytes=2 << 30)  # a map is built or searched: models, and its features
Size = tuple[int, int]
Result = TypeVar("Result")


@dataclass(frozen=True)
class BenchmarkConfig(Config):
    """Options of mapping scenes, of preparing them for each way of searching, by its name, and of searching."""

    mapping: MappingConfig = section(MappingConfig)
    preparations: Mapping[str, Config] = plugin_sections(preparation_types)
    anchor: AnchorConfig = section(AnchorConfig)


def run_protocol(
    scenes: Sequence[BenchmarkScene],
    searches: Sequence[str],
    folder: Path,
    config: BenchmarkConfig | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> dict[str, Records]:
    """Map every scene, and search its queries in all ways; gives the records by scene.

    Results of earlier runs in the same folder stay. The maps of all scenes are prepared together; they are built, and
    searched, several at once where an ``engine`` is given. Raises ConfigError
    where the folder is of a run with other options, images, code or packages, and as building, preparing and searching
    maps do.
    """
    config, progress = config or BenchmarkConfig(), progress or SilentProgress()
    maps = build_maps(scenes, folder, config, progress, engine)
    for search in searches:
        prepare_scenes(scenes, maps, search, config, progress)
    search_one = partial(search_scene, searches=searches, folder=folder, config=config.anchor)
    pairs = list(zip(scenes, maps, strict=True))
    found = _of_scenes(engine, config, "scenes searched", search_one, pairs, folder, progress)
    records = {scene.name: one for scene, one in zip(scenes, found, strict=True)}
    _write_joined(scenes, searches, records, folder)
    return records


def build_maps(
    scenes: Sequence[BenchmarkScene],
    folder: Path,
    config: BenchmarkConfig,
    progress: Progress,
    engine: Engine | None = None,
) -> list[Path]:
    """The maps of scenes in the folder of a run, built unless they are there; raises as ``run_protocol`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    options = config.to_mapping()
    keep_settings(folder, options, scenes, artifact_key("benchmark", run_protocol, options))
    build_one = partial(build_scene, folder=folder / "maps", config=config.mapping)
    return _of_scenes(engine, config, "maps", build_one, [(scene,) for scene in scenes], folder, progress)


def _of_scenes(
    engine: Engine | None,
    config: BenchmarkConfig,
    words: str,
    function: Callable[..., Result],
    scenes: Sequence[tuple[Any, ...]],
    folder: Path,
    progress: Progress,
) -> list[Result]:
    """Apply a function to the arguments of each scene; workers that see the folder do it where there is an engine."""
    if engine is None:
        return [function(*arguments, progress=progress) for arguments in scenes]
    progress.stage(words, len(scenes))
    results, do = dict[int, Result](), partial(_in_worker, mark_place(str(folder)), function)
    for row, result in engine.run(do, scenes, _NEEDS.on_device_of(config)):
        results[row] = result
        progress.advance()
    return [results[row] for row in range(len(scenes))]


def _in_worker(mark: Mark, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    mark.check()
    return function(*arguments, progress=SilentProgress())


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
        write_result_files(own, name, scene, records[name])
    return records


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


def prepare_scenes(
    scenes: Sequence[BenchmarkScene], paths: Sequence[Path], search: str, config: BenchmarkConfig, progress: Progress
) -> None:
    """Prepare the maps of scenes together for a way of searching, unless they are prepared, or need no preparation."""
    strategy = find_strategy(search)
    if strategy.preparation is not None and not strategy.is_prepared([read_manifest(path) for path in paths]):
        options = config.preparations.get(search) or strategy.preparation()
        strategy.prepare(paths, options, progress, _examples(scenes, paths))


def _examples(scenes: Sequence[BenchmarkScene], paths: Sequence[Path]) -> Examples:
    """Masks and styles of the images that the maps are made of; a query teaches nothing."""
    styles = {
        f"{path.name}/{image.name}" if len(scenes) > 1 else image.name: tuple(image.styles.values())
        for scene, path in zip(scenes, paths, strict=True)
        for image in scene.database
        if image.styles
    }
    masks = next((scene.masks for scene in scenes if scene.masks is not None), None)  # one folder for a data set
    return Examples(masks=masks, styles=styles)


def _write_joined(
    scenes: Sequence[BenchmarkScene], searches: Sequence[str], records: Mapping[str, Records], folder: Path
) -> None:
    """Write the result files of all scenes as one, for servers that require it, if all names differ."""
    names = [query.result_name for scene in scenes for query in scene.queries if query.result_name is not None]
    if len(scenes) < 2 or len(set(names)) < len(names):
        return
    for search in searches:
        poses: dict[str, SE3] = {}
        for scene in scenes:
            poses |= result_poses(scene, records[scene.name][search])
        write_result_file(folder / f"{search}.txt", poses)


def open_images(name: str, images: Sequence[DatabaseImage | QueryImage]) -> FolderSource:
    """The images in their order, by their names; a broken one is skipped, counted and logged.

    Cameras that were made for another size of the same images, as some lists have them, are scaled. Raises SourceError
    where none can be read; iteration raises CalibrationError where a camera does not fit its image at all.
    """
    sizes = _sizes_on_disk(images)
    fit = partial(_fit, sizes=sizes)
    stamps_ns = stamps_at_rate(range(len(images)), _RATE_HZ)
    stamped = tuple(
        StampedImage(stamp_ns, image.path, image.name, fit(image.camera))
        for stamp_ns, image in zip(stamps_ns, images, strict=True)
    )
    calibration = CameraCalibration(fit(images[0].camera), CalibrationSource.RECORDED)
    return FolderSource(name, stamped, calibration, ground_truth=None)


def _sizes_on_disk(images: Sequence[DatabaseImage | QueryImage]) -> dict[Size, Size]:
    """For each image size of cameras, the size of the first such image that can be read."""
    by_size: dict[Size, list[DatabaseImage | QueryImage]] = {}
    for image in images:
        by_size.setdefault((image.camera.width, image.camera.height), []).append(image)
    headers = {size: first_readable([image.path for image in alike])[1] for size, alike in by_size.items()}
    return {size: (header.width, header.height) for size, header in headers.items()}


def _fit(camera: pycolmap.Camera, sizes: dict[Size, Size]) -> pycolmap.Camera:
    """The camera at the size on disk, where that has the same proportions to a pixel."""
    width, height = sizes[camera.width, camera.height]
    is_alike = abs(camera.width * height - camera.height * width) <= max(camera.width, width)
    if (width, height) == (camera.width, camera.height) or not is_alike:
        return camera
    return rescale(camera, width, height)
