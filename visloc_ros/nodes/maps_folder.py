"""The folder of a node's maps, which lists them and confines requests to it."""

from __future__ import annotations

import os
from pathlib import Path

from visloc_msgs.msg import MapInfo
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map_folder import MapEntry, list_maps, path_within


class MapsFolder:
    """Turns the paths of requests into paths on this machine; without a folder any absolute path will do."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).expanduser().absolute() if folder else None

    @property
    def is_set(self) -> bool:
        """Whether requests are confined to a folder."""
        return self._folder is not None

    def path(self, requested: str) -> Path:
        """The path of a request. Raises ConfigError for one that is forbidden or ambiguous."""
        if self._folder is not None:
            return path_within(self._folder, requested)
        path = Path(os.path.expanduser(requested))
        if not path.is_absolute():
            raise ConfigError(f"give an absolute path, not '{path}': this node hardly runs in the folder that you mean")
        return path

    def list(self, in_use: Path) -> list[MapInfo]:
        """The maps in the folder, of which one may be in use. Raises ConfigError where there is no folder."""
        if self._folder is None:
            raise ConfigError("the parameter maps_folder is empty: set it to the folder that the maps lie in")
        return [_message(entry, entry.path.resolve() == in_use.resolve()) for entry in list_maps(self._folder)]


def _message(entry: MapEntry, is_in_use: bool) -> MapInfo:
    message = MapInfo(name=entry.path.name, path=str(entry.path), in_use=is_in_use, problem=entry.problem)
    message.size = entry.size
    if entry.manifest is None:
        return message
    manifest = entry.manifest
    message.name, message.created_from = manifest.name, manifest.created_from
    message.images, message.points = _count(manifest, "images"), _count(manifest, "points")
    message.metric, message.gravity_aligned = manifest.metric, manifest.gravity_aligned
    extractor = manifest.models.get("extractor")
    message.features = "" if extractor is None else extractor.name
    return message


def _count(manifest: Manifest, what: str) -> int:
    """A count of the manifest; 0 where that is missing or impossible."""
    count = manifest.counts.get(what, 0)
    return count if isinstance(count, int) and 0 <= count < 1 << 32 else 0
