"""The maps of a folder, loaded when needed; the least recently used ones are dropped where memory is short."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from visloc_ros.core.errors import ConfigError, MapError, VislocError
from visloc_ros.core.files import is_file
from visloc_ros.core.manifest import MANIFEST_NAME
from visloc_ros.core.map_check import check_map
from visloc_ros.core.map_folder import MapEntry, find_map, list_maps, remove_map
from visloc_ros.core.map_versions import version_mark
from visloc_ros.core.own_process import keep_loaded_objects
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.searchable_map import open_searchable_map, searches_of

logger = logging.getLogger(__name__)

BYTES_A_BYTE = 3  # of memory for one on the disk: a map of 10,000 images (1.5 GB) takes 2.7 GB


class ResidentMaps:
    """Engines by map name, with models in common. One thread at a time.

    Maps that are not prepared for the search that ``config`` names are searched by retrieval, reduced ones as they can.
    """

    def __init__(self, folder: Path, memory_bytes: int, config: AnchorConfig | None = None) -> None:
        self.folder, self._memory_bytes, self._config = folder, memory_bytes, config or AnchorConfig()
        self._engines: OrderedDict[str, tuple[AnchorEngine, int]] = OrderedDict()
        self._marks: dict[str, tuple[int, int, int] | None] = {}  # of the version that was loaded, or tried, last

    def entries(self) -> list[MapEntry]:
        """The maps in the folder, broken ones, too. Raises MapError where it cannot be read."""
        try:
            return list_maps(self.folder)
        except ConfigError as error:
            raise MapError(str(error)) from error

    def entry(self, name: str) -> MapEntry:
        """One map, broken or not, by the name of its folder or archive. Raises UnknownMapError, MapError."""
        try:
            entry = find_map(self.folder, name)
        except ConfigError as error:
            raise MapError(str(error)) from error
        if entry is None:
            raise UnknownMapError(f"there is no map '{name}' here: GET /reference/status lists those that are")
        return entry

    def folder_of(self, name: str) -> Path:
        """The folder of a map that can have versions. Raises UnknownMapError, MapError, ConfigError for an archive."""
        entry = self.entry(name)
        if entry.problem:
            raise MapError(entry.problem)
        if not is_file(entry.path / MANIFEST_NAME):
            raise ConfigError(f"'{name}' has no versions: unpack an archive on the server, convert a map of stock hloc")
        return entry.path

    def delete(self, name: str) -> None:
        """Delete a map, a broken one, too. Raises UnknownMapError, MapError, OutputError."""
        remove_map(self.entry(name).path)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Load a map again when it is searched next."""
        self._engines.pop(name, None)

    @property
    def num_resident(self) -> int:
        """How many maps are in memory."""
        return len(self._engines)

    def is_resident(self, name: str) -> bool:
        """Whether a map is in memory."""
        return name in self._engines

    def resolve(self, name: str) -> str:
        """The name of the only map where none is given. Raises UnknownMapError."""
        return name or self._only_name()

    def engine(self, name: str) -> AnchorEngine:
        """The engine of a map by the name of its folder or archive; of the only map where the name is empty.

        Where another version has taken the map's place it is loaded; one that is broken leaves the old one in use.
        Raises UnknownMapError, MapError where it cannot be opened, or where its models differ from those in use.
        """
        name = self.resolve(name)
        mark = version_mark(self.folder / name)
        if name not in self._engines:
            self._load(name)
            self._marks[name] = mark
        elif mark is not None and mark != self._marks[name]:  # there is none for a moment while it changes
            self._marks[name] = mark
            self._renew(name)
        self._engines.move_to_end(name)
        return self._engines[name][0]

    def _only_name(self) -> str:
        names = [entry.path.name for entry in self.entries() if not entry.problem]
        if len(names) != 1:
            there = f"these are there: {', '.join(names)}" if names else "there is none"
            raise UnknownMapError(f"say which map is to be searched; {there}")
        return names[0]

    def _renew(self, name: str) -> None:
        try:
            self._load(name)
        except VislocError as error:
            logger.error("the map '%s' stays in use as it was before it changed: %s", name, error)

    def _load(self, name: str) -> None:
        entry = self.entry(name)
        if entry.problem:
            raise MapError(entry.problem)
        check_map(entry.path)
        size = BYTES_A_BYTE * entry.size
        others = [other for other in self._engines if other != name]
        while others and sum(self._engines[other][1] for other in others) + size > self._memory_bytes:
            del self._engines[others.pop(0)]
        shared = next(iter(self._engines.values()), None)
        models = () if shared is None else (shared[0].extractor, shared[0].matcher)
        place = open_searchable_map(entry.path)
        possible = searches_of(place.manifest)
        config = self._config if self._config.search in possible else replace(self._config, search=possible[0])
        self._engines[name] = AnchorEngine(place, config, *models), size
        keep_loaded_objects()


class UnknownMapError(MapError):
    """There is no map of that name, or no name where there are several."""
