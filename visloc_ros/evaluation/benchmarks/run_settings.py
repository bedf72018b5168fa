"""The settings behind the results in a folder, so that no run continues those of another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import is_file, read_text
from visloc_ros.evaluation.benchmarks.scene import BenchmarkScene

SETTINGS_NAME = "settings.json"
_OTHER_FOLDER = "name another --output, or remove this one"


def keep_settings(folder: Path, config: Mapping[str, Any], scenes: Sequence[BenchmarkScene]) -> None:
    """Write the options, and how many images each scene has, into a folder.

    Raises ConfigError where it holds results of other options, or of other images of a scene.
    """
    path = folder / SETTINGS_NAME
    earlier = _read(path)
    images = {scene.name: [len(scene.database), len(scene.queries)] for scene in scenes}
    plain = json.loads(json.dumps(config))
    if earlier.get("config", plain) != plain:
        raise ConfigError(f"{folder} holds results of other options, which {path} lists: {_OTHER_FOLDER}")
    known = earlier.get("images", {})
    for name, (mapped, queries) in images.items():
        if known.get(name, [mapped, queries]) != [mapped, queries]:
            raise ConfigError(
                f"{folder} holds results of scene '{name}' with {known[name][0]} images of the database and "
                f"{known[name][1]} queries, not {mapped} and {queries}: {_OTHER_FOLDER}"
            )
    with atomic_write(path) as file:
        file.write_text(json.dumps({"config": plain, "images": known | images}, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    if not is_file(path):
        return {}
    try:
        values = json.loads(read_text(path, ConfigError))
        if not isinstance(values["config"], dict) or not all(len(counts) == 2 for counts in values["images"].values()):
            raise ValueError("it is of another form")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} does not list the options of the results beside it: {_OTHER_FOLDER}") from error
    return dict(values)
