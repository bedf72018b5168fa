"""Maps to search, show and follow, whole or reduced to what one way of searching needs.

A reduced map becomes a map like others: its images are the frames that are searched, their features projections of
points.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_reduction import write_reduced
from visloc_ros.localization.config import search_names
from visloc_ros.localization.map_uncertainty import map_uncertainty
from visloc_ros.localization.strategies.registry import find_strategy, prepared_map


def searches_of(manifest: Manifest) -> list[str]:
    """Ways to search a map: retrieval and those that it is prepared for, or the one it is reduced to."""
    if manifest.reduced is not None:
        return [manifest.reduced.search]
    return [name for name in search_names() if find_strategy(name).can_search(manifest)]


def open_searchable_map(path: Path, *, checksums: bool = True) -> Map:
    """Open a map as ``core.map.open_map`` does; a reduced one gets images and points from its prepared files.

    Raises MapError.
    """
    map_ = open_map(path, checksums=checksums, reduced=True)
    if map_.manifest.reduced is None:
        return map_
    return replace(prepared_map(map_, map_.manifest.reduced.search), prepared=map_.prepared)


def reduce_map_to(path: Path, search: str, output: Path, *, overwrite: bool = False) -> Manifest:
    """Write only what ``search`` needs of a prepared map to a folder or a ``.tar.gz``; the prepared map stays.

    Raises MapError where the map is not prepared for it, or is reduced itself, ConfigError, and OutputError.
    """
    map_ = open_map(path)
    if search in map_.prepared:
        prepared_map(map_, search)  # what is broken, or of another version of the map, is refused while it is whole
    return write_reduced(map_, path, output, search, map_uncertainty(map_).info, overwrite=overwrite)
