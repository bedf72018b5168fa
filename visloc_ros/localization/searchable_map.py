"""Ways of searching by name, those of this package and of others that are installed, and the maps that they search.

A map is whole, or reduced to what one way of searching needs. A reduced map becomes a map like others: its images are
the frames that are searched, their features projections of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from visloc_ros.core.config import Config
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import Map, only_prepared, open_map
from visloc_ros.core.map_preparation import write_reduced
from visloc_ros.core.plugins import importable_plugins, load_plugin
from visloc_ros.features import LocalExtractor, Matcher, make_matcher
from visloc_ros.localization.config import RETRIEVAL, SEARCH_GROUP, AnchorConfig, search_names
from visloc_ros.localization.map_uncertainty import map_uncertainty
from visloc_ros.localization.strategy import OpenedMaps, Searcher, SearchStrategy


def find_strategy(name: str) -> SearchStrategy:
    """The way of searching of this name. Raises ConfigError where it is not installed."""
    strategy: SearchStrategy = load_plugin(SEARCH_GROUP, name)
    return strategy


def preparation_types() -> dict[str, type[Config]]:
    """Types of the options for preparing maps, by way of searching; a way that prepares nothing is left out."""
    installed = importable_plugins(SEARCH_GROUP, RETRIEVAL).values()
    return {one.name: one.preparation for one in installed if one.preparation is not None}


def open_maps(
    maps: Sequence[Map], config: AnchorConfig, extractor: LocalExtractor, matcher: Matcher | None = None
) -> OpenedMaps:
    """Searchers of maps, as ``config.search`` names them; ``matcher`` where it is loaded already.

    Raises MapError where a map lacks what they need, ModelError where a model cannot be loaded.
    """
    for map_ in maps:
        _check_whole(map_, config)
    matcher = matcher or make_matcher(config.matcher, extractor.info.name)
    return find_strategy(config.search).open(maps, config, matcher)


def open_map_for_search(
    map_: Map, config: AnchorConfig, extractor: LocalExtractor, matcher: Matcher | None = None
) -> Searcher:
    """The searcher of a single map; arguments and errors as for ``open_maps``."""
    (searcher,) = open_maps([map_], config, extractor, matcher).searchers
    return searcher


def prepared_map(map_: Map, search: str) -> Map:
    """The points, and the frames that show them, that a way of searching has prepared in a map, without its models.

    Raises MapError where they are missing, broken or of another version of the map, or where the way is not known.
    """
    if search not in search_names():
        raise MapError(
            f"the map '{map_.name}' is for a search by '{search}', which is not installed here: install the package "
            "that provides it, or a newer version of this one"
        )
    try:
        return find_strategy(search).prepared_map(map_)
    except ConfigError as error:
        raise MapError(str(error)) from error


def _check_whole(map_: Map, config: AnchorConfig) -> None:
    """Refuse a map that was reduced to another search."""
    reduced = map_.manifest.reduced
    if reduced is not None and reduced.search != config.search:
        raise only_prepared(map_.name, reduced.search)


def searches_of(manifest: Manifest) -> list[str]:
    """Ways to search a map: retrieval and those that it is prepared for, or the one it is reduced to."""
    if manifest.reduced is not None:
        return [manifest.reduced.search]
    return [name for name in search_names() if find_strategy(name).can_search(manifest)]


def open_searchable_map(path: Path, *, whole: bool = False) -> Map:
    """Open a map; a reduced one gets images and points from its prepared files.

    Raises MapError.
    """
    map_ = open_map(path, reduced=True, whole=whole)
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
