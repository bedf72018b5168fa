"""Ways of searching by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from visloc_ros.core.errors import MapError
from visloc_ros.core.map import Map, only_prepared
from visloc_ros.features import LocalExtractor, Matcher, make_matcher
from visloc_ros.features.registry import make_global_descriptor
from visloc_ros.localization.config import FUSED, LANDMARKS, AnchorConfig
from visloc_ros.localization.searcher import MapRanking, Searcher
from visloc_ros.localization.strategies.retrieval import RetrievalSearcher
from visloc_ros.localization.strategies.retrieval.global_index import MakeDescriptor

if TYPE_CHECKING:
    from visloc_ros.localization.strategies.landmarks.searcher import LandmarkSearcher


def make_searcher(
    map_: Map, config: AnchorConfig, extractor: LocalExtractor, matcher: Matcher | None = None
) -> Searcher:
    """The way of searching that ``config.search`` names; ``matcher`` where it is loaded already.

    Raises MapError in words where the map lacks what that needs, ModelError where a model cannot be loaded.
    """
    _check_whole(map_, config)
    matcher = matcher or make_matcher(config.matcher, extractor.info.name)
    if config.search == LANDMARKS:
        (searcher,) = _landmark_searchers([map_], config, matcher)
        return searcher
    if config.search == FUSED:
        return _fused_searcher(map_, config, matcher, make_global_descriptor)
    return RetrievalSearcher(map_, config, matcher)


def _landmark_searchers(maps: Sequence[Map], config: AnchorConfig, matcher: Matcher) -> list[LandmarkSearcher]:
    from visloc_ros.localization.strategies.landmarks.opening import open_landmarks_of, open_texts
    from visloc_ros.localization.strategies.landmarks.searcher import LandmarkSearcher

    return [
        LandmarkSearcher(landmarks, recogniser, config, matcher, open_texts(map_, landmarks.num_landmarks))
        for map_, (landmarks, recogniser) in zip(maps, open_landmarks_of(maps, config.features.device), strict=True)
    ]


def _fused_searcher(map_: Map, config: AnchorConfig, matcher: Matcher, make: MakeDescriptor) -> Searcher:
    from visloc_ros.localization.strategies.fused.opening import open_fused
    from visloc_ros.localization.strategies.fused.searcher import FusedSearcher

    return FusedSearcher(*open_fused(map_, config.global_descriptor, make), config, matcher)


@dataclass(frozen=True, eq=False)
class SearchersOfMaps:
    """The searchers of several maps, in their order, and their ranking: None where only a search can tell."""

    searchers: Sequence[Searcher]
    ranking: MapRanking | None = None


def make_searchers(
    maps: Sequence[Map], config: AnchorConfig, extractor: LocalExtractor, matcher: Matcher | None = None
) -> SearchersOfMaps:
    """A searcher for each map, which share all models; arguments and errors as for ``make_searcher``."""
    for map_ in maps:
        _check_whole(map_, config)
    matcher = matcher or make_matcher(config.matcher, extractor.info.name)
    if config.search == LANDMARKS:
        from visloc_ros.localization.strategies.landmarks.map_ranking import LandmarkMapRanking
        from visloc_ros.localization.strategies.landmarks.opening import recogniser_checksum

        searchers = _landmark_searchers(maps, config, matcher)
        are_together = len({recogniser_checksum(map_) for map_ in maps}) == 1
        ranking = LandmarkMapRanking(searchers, are_together=are_together)
        return SearchersOfMaps(searchers, ranking)
    make_once = cache(make_global_descriptor)
    if config.search == FUSED:
        return SearchersOfMaps([_fused_searcher(map_, config, matcher, make_once) for map_ in maps])
    return SearchersOfMaps([RetrievalSearcher(map_, config, matcher, make_once) for map_ in maps])


def prepared_map(map_: Map, search: str) -> Map:
    """What a way of searching has made of a map, without what recognises it: points and the frames that show them.

    Raises MapError where that is missing, broken or of another version of the map, or where the way is not known.
    """
    if search == LANDMARKS:
        from visloc_ros.localization.strategies.landmarks.landmark_files import load_landmark_map

        return load_landmark_map(map_.prepared[LANDMARKS], map_.manifest).map
    if search == FUSED:
        from visloc_ros.localization.strategies.fused.fused_files import load_fused_map

        return load_fused_map(map_.prepared[FUSED], map_.manifest).map
    raise MapError(f"the map '{map_.name}' is for a search by '{search}', which is not known here: use a newer version")


def _check_whole(map_: Map, config: AnchorConfig) -> None:
    """Refuse a map that was reduced to another search."""
    reduced = map_.manifest.reduced
    if reduced is not None and reduced.search != config.search:
        raise only_prepared(map_.name, reduced.search)
