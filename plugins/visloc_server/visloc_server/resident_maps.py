"""The maps of a folder, loaded when needed; the least recently used ones are dropped where memory is short."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from weakref import ref

from visloc_ros.core.errors import ConfigError, MapError, VislocError
from visloc_ros.core.files import is_file
from visloc_ros.core.manifest import MANIFEST_NAME
from visloc_ros.core.map import Map
from visloc_ros.core.map_check import check_map
from visloc_ros.core.map_folder import MapEntry, find_map, list_maps, remove_map
from visloc_ros.core.map_versions import version_mark
from visloc_ros.core.own_process import keep_loaded_objects
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.searchable_map import open_searchable_map, searches_of

logger = logging.getLogger(__name__)

BYTES_A_BYTE = 3  # of memory for one of its files: a map of 10,000 images (1.5 GB) takes 2.7 GB, the demo's 1.9 a byte


class ResidentMaps:
    """Engines by map name, with models in common. One thread at a time.

    Maps that are not prepared for the search that ``config`` names are searched by retrieval, reduced ones as they can.
    """

    def __init__(self, folder: Path, memory_bytes: int, config: AnchorConfig | None = None) -> None:
        self.folder, self._memory_bytes, self._config = folder, memory_bytes, config or AnchorConfig()
        self._engines: OrderedDict[str, AnchorEngine] = OrderedDict()
        self._loaded: list[tuple[ref[Map], int]] = []  # dropped ones, too: what still uses them keeps them in memory
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
        Raises UnknownMapError, MemoryShortError, MapError where it cannot be opened, or where its models differ from
        those in use.
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
        return self._engines[name]

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
            if name not in self._engines:  # it had to make room
                raise
            logger.error("the map '%s' stays in use as it was before it changed: %s", name, error)

    def _load(self, name: str) -> None:
        entry = self.entry(name)
        if entry.problem:
            raise MapError(entry.problem)
        check_map(entry.path)
        size = memory_bytes(entry)
        shared = next(((one.extractor, one.matcher) for one in self._engines.values()), ())
        self._make_room(name, size)
        place = open_searchable_map(entry.path)
        self._loaded.append((ref(place), size))
        possible = searches_of(place.manifest)
        config = self._config if self._config.search in possible else replace(self._config, search=possible[0])
        self._engines[name] = AnchorEngine(place, config, *shared)
        keep_loaded_objects()

    def _make_room(self, name: str, size: int) -> None:
        """Drop maps until one of this size fits: those not asked for the longest, its own earlier version last.

        Raises MemoryShortError where it does not, because of what searches and streams still use.
        """
        for other in sorted(self._engines, key=name.__eq__):
            if self._fits(size):
                return
            del self._engines[other]
        if not self._fits(size) and self._in_memory():
            raise MemoryShortError(
                f"searches and streams that have begun still use maps beside which '{name}' does not fit: try again "
                "when they have ended, or start the server with a higher --memory-gb"
            )

    def _fits(self, size: int) -> bool:
        if self._in_memory() + size <= self._memory_bytes:
            return True
        keep_loaded_objects()  # frees maps that nothing uses any longer but a cycle of garbage, as of a stream
        return self._in_memory() + size <= self._memory_bytes

    def _in_memory(self) -> int:
        self._loaded = [one for one in self._loaded if one[0]() is not None]
        return sum(size for _, size in self._loaded)


def memory_bytes(entry: MapEntry) -> int:
    """About how much memory a map takes: its files in full, whatever versions lie beside them or pack them."""
    manifest = entry.manifest
    size = sum(info.size for info in manifest.files.values()) if manifest and manifest.files else entry.size
    return BYTES_A_BYTE * size


class MemoryShortError(MapError):
    """A map does not fit into memory beside those that are still used."""


class UnknownMapError(MapError):
    """There is no map of that name, or no name where there are several."""
