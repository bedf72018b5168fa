"""The programs of PRAM by their names and options: a data set searched by landmarks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_field.command_benchmark import run_benchmark
from visloc_field.protocol import BenchmarkConfig
from visloc_ros.core.config import nest, read_mapping
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import is_folder

logger = logging.getLogger(__name__)

# Its folder of a data set, the letter that its files may give instead, and what the set is called here.
_DATA_SETS = {
    "7Scenes": ("S", "7scenes"),
    "12Scenes": ("T", "12scenes"),
    "CambridgeLandmarks": ("C", "cambridge"),
    "Aachen": ("A", "aachen"),
    "RobotCar-Seasons": ("R", "robotcar"),
}
_PREPARE = "visloc prepare MAP --for landmarks"
_VIEW = "'visloc view MAP --live SOURCE' shows a camera in a map"
PramConfig = Annotated[Path, typer.Option("--config", help="YAML file of PRAM.")]


def inference(
    config: PramConfig,
    rec_weight_path: Annotated[Path | None, typer.Option("--rec_weight_path")] = None,
    landmark_path: Annotated[
        Path | None,
        typer.Option("--landmark_path", help="Folder for maps and results; landmarks of PRAM in it are taken."),
    ] = None,
    online: Annotated[bool | None, typer.Option("--online/--no-online")] = None,
) -> None:
    """Search data sets by landmarks, as visloc benchmark NAME DATA --search landmarks does."""
    if online:
        raise ConfigError(f"a data set is not searched live: {_VIEW}")
    keys = read_mapping(config)
    folder = landmark_path or _path(keys, "landmark_path")
    if folder is None:
        raise ConfigError("name the folder for maps and results: --landmark_path, or the key landmark_path")
    data_sets = list(_data_sets(keys))
    if rec_weight_path is not None or keys.get("weight_path"):
        logger.warning("PRAM's weights are not read: each map is prepared with a recogniser of its own")
    if keys.get("online", False) and online is None:
        logger.warning("the data set is searched without PRAM's viewer; %s", _VIEW)
    scenes = _section(keys, "localization").get("loc_scene_name") or []
    for name, data in data_sets:
        output = folder / name if len(data_sets) > 1 else folder
        wanted = [str(scene) for scene in scenes] if len(data_sets) == 1 else []
        run_benchmark(name, data, output, ["landmarks"], _options(folder, name), wanted)


def main_program(config: PramConfig) -> None:
    """Search a data set by landmarks where the file says 'loc: true'; there is no training apart from a map here."""
    if not read_mapping(config).get("loc", False):
        raise ConfigError(f"a recogniser is trained with its maps: {_PREPARE}")
    inference(config)


def recmap(config: Annotated[Path | None, typer.Option("--config", help="YAML file of PRAM.")] = None) -> None:
    """Landmarks are made of a map where it is prepared."""
    raise ConfigError(f"landmarks are made of a map where it is prepared: {_PREPARE}")


def _options(folder: Path, name: str) -> BenchmarkConfig:
    """Options by which the landmarks in the folder of landmarks are taken, if there are any."""
    title = next(title for title, (_, ours) in _DATA_SETS.items() if ours == name)
    given = next((place for place in (folder / title, folder) if has_clusters(place)), None)
    return BenchmarkConfig.from_mapping(nest({} if given is None else {"landmarks.landmarks.clusters": str(given)}))


def has_clusters(folder: Path) -> bool:
    """Whether a folder of PRAM's landmarks is of one scene, or has folders of scenes."""
    return any(next(folder.glob(f"{below}point3D_cluster_*.npy"), None) for below in ("", "*/", "*/*/"))


def _path(keys: Mapping[str, Any], key: str) -> Path | None:
    return Path(os.path.expanduser(str(keys[key]))) if keys.get(key) else None


def _section(keys: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = keys.get(name)
    return section if isinstance(section, Mapping) else {}


def _data_sets(keys: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Our names of the data sets, and their folders; those without a protocol here are named and left out."""
    given = keys.get("dataset")
    names = given if isinstance(given, list) else [given]
    root = _path(keys, "dataset_path") or Path()
    known = {name: title for title, (letter, _) in _DATA_SETS.items() for name in (title, letter)}
    titles = [known[name] for name in names if name in known]
    left_out = [str(name) for name in names if name not in known]
    if not titles:
        raise ConfigError(f"the key dataset must name some of {', '.join(_DATA_SETS)}, not {given!r}")
    if left_out:
        logger.warning("there is no protocol for %s here: searching %s", ", ".join(left_out), ", ".join(titles))
    for title in titles:
        yield _DATA_SETS[title][1], root / title if is_folder(root / title) else root
