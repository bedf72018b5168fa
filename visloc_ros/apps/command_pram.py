"""PRAM's programs by name: they run our benchmark by landmarks, and refuse options that have no meaning here.

Hidden commands. A key of the --config file, which is PRAM's own, is overridden by the option of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.command_benchmark import benchmark
from visloc_ros.core.config import read_mapping
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import is_folder
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS

# Its folder of a data set, the letter that its files may give instead, and what the set is called here.
_DATA_SETS = {
    "7Scenes": ("S", "7scenes"), "12Scenes": ("T", "12scenes"), "CambridgeLandmarks": ("C", "cambridge"),
    "Aachen": ("A", "aachen"),
}  # fmt: skip
_PREPARE = "visloc prepare MAP --for landmarks"

PramConfig = Annotated[Path, typer.Option("--config", help="YAML file of PRAM.")]


def inference(
    config: PramConfig,
    rec_weight_path: Annotated[Path | None, typer.Option("--rec_weight_path")] = None,
    landmark_path: Annotated[Path | None, typer.Option("--landmark_path", help="Folder for maps and results.")] = None,
    online: Annotated[bool | None, typer.Option("--online/--no-online")] = None,
) -> None:
    """Search a data set by landmarks, as visloc benchmark NAME DATA --search landmarks does."""
    keys = read_mapping(config)
    if rec_weight_path is not None or keys.get("weight_path"):
        raise ConfigError(f"weights of PRAM's network are not read, a map holds its own ({_PREPARE}): leave them out")
    if keys.get("online", False) if online is None else online:
        raise ConfigError("a data set is not searched live: see a camera in a map with 'visloc view MAP --live SOURCE'")
    folder = landmark_path or keys.get("landmark_path")
    if not folder:
        raise ConfigError("name the folder for maps and results: --landmark_path, or the key landmark_path")
    name, data = _data_set(keys)
    benchmark(name, data, output=Path(str(folder)), search=LANDMARKS)


def main_program(config: PramConfig) -> None:
    """Search a data set by landmarks where the file says 'loc: true'; there is no training apart from a map here."""
    if not read_mapping(config).get("loc", False):
        raise ConfigError(f"a recogniser is trained with its maps: {_PREPARE}")
    inference(config)


def recmap(config: Annotated[Path | None, typer.Option("--config", help="YAML file of PRAM.")] = None) -> None:
    """Landmarks are made of a map where it is prepared."""
    raise ConfigError(f"landmarks are made of a map where it is prepared: {_PREPARE}")


def _data_set(keys: Mapping[str, Any]) -> tuple[str, Path]:
    """Our name of the data set, and its folder."""
    given = keys.get("dataset")
    names = given if isinstance(given, list) else [given]
    for title, (letter, name) in _DATA_SETS.items():
        if names in ([title], [letter]):
            root = Path(str(keys.get("dataset_path", "")))
            return name, root / title if is_folder(root / title) else root
    raise ConfigError(f"the key dataset must name one of {', '.join(_DATA_SETS)}, not {given!r}")
