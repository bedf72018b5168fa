"""The version of the map that prepared files were made from, by checksums of the map's files; and how they are read.

(A map of stock hloc states no checksums: its version is not compared.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from visloc_ros.core.errors import CalibrationError, ConfigError, MapError
from visloc_ros.core.manifest import MODEL_FOLDER, Manifest, ModelInfo
from visloc_ros.core.map import Map
from visloc_ros.core.map_layout import FEATURES_NAME
from visloc_ros.localization.config import RETRIEVAL

_MOST_DESCRIPTION_BYTES = 32 << 20

Parsed = TypeVar("Parsed")


def prepared_files(map_: Map, way: str, what: str) -> Mapping[str, bytes]:
    """Contents by name of the files prepared for a way of searching. Raises MapError where a map holds none."""
    files = map_.prepared.get(way)
    if files is None:
        raise MapError(
            f"the map '{map_.name}' holds no {what}: make them with 'visloc prepare MAP --for {way}', or set "
            f"anchor.search to '{RETRIEVAL}'"
        )
    return files


def origin_of(manifest: Manifest) -> dict[str, str]:
    """SHA-256 of the files of a map that a reduced one is made from, by name."""
    files = manifest.whole_files
    used = (name for name in files if name == FEATURES_NAME or name.startswith(f"{MODEL_FOLDER}/"))
    return {name: files[name].sha256 for name in sorted(used)}


def extractor_of(manifest: Manifest) -> ModelInfo:
    """The model that made a map's features. Raises MapError where the map does not say."""
    extractor = manifest.models.get("extractor")
    if extractor is None:
        raise MapError(f"the map '{manifest.name}' does not say which extractor made it: build it again")
    return extractor


def check_version(what: str, made_from: Mapping[str, str], manifest: Manifest, advice: str) -> None:
    """Refuse files that were made from another version of the map. Raises MapError."""
    if made_from != origin_of(manifest):
        raise MapError(f"the {what} were made from another version of the map '{manifest.name}'{advice}")


def check_extractor(what: str, made_with: Mapping[str, Any], manifest: Manifest, advice: str) -> None:
    """Refuse files that were made with another extractor than the map states. Raises MapError."""
    stated = manifest.models.get("extractor")
    if stated is None or (stated.name, stated.sha256) != (made_with["name"], made_with["sha256"]):
        raise MapError(
            f"the {what} were made with the extractor '{made_with['name']}', the map '{manifest.name}' with "
            f"'{stated.name if stated else 'none'}' or other weights of it{advice}"
        )


def read_description(
    file: str, content: bytes, what: str, version: int, parse: Callable[[Mapping[str, Any]], Parsed], advice: str
) -> Parsed:
    """A JSON file that describes ``what``, converted by ``parse``. Raises MapError with ``advice`` at its end."""
    try:
        values = json.loads(content[:_MOST_DESCRIPTION_BYTES])
    except (ValueError, RecursionError) as error:
        raise MapError(f"cannot read {file} ({error}){advice}") from error
    if not isinstance(values, dict) or "schema_version" not in values:
        raise MapError(f"{file} does not describe {what}{advice}")
    if values["schema_version"] != version:
        raise MapError(f"{file} has schema version {values['schema_version']!r}, this program reads {version}{advice}")
    try:
        return parse(values)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError, CalibrationError) as error:
        raise MapError(f"{file} lacks or garbles an entry ({error}){advice}") from error
