"""Ways of searching by name: those of this package and of others that are installed."""

from __future__ import annotations

from collections.abc import Sequence

from visloc_ros.core.config import Config
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.map import Map, only_prepared
from visloc_ros.core.plugins import importable_plugins, load_plugin
from visloc_ros.features import LocalExtractor, Matcher, make_matcher
from visloc_ros.localization.config import RETRIEVAL, SEARCH_GROUP, AnchorConfig, search_names
from visloc_ros.localization.searcher import Searcher
from visloc_ros.localization.strategy import OpenedMaps, SearchStrategy


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
