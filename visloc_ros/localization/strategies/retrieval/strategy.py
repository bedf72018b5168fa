"""The search by retrieval as the package finds it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from visloc_ros.core.map import Map
from visloc_ros.features.registry import make_global_descriptor
from visloc_ros.features.types import Matcher
from visloc_ros.localization.config import RETRIEVAL, AnchorConfig
from visloc_ros.localization.strategies.retrieval.searcher import RetrievalSearcher
from visloc_ros.localization.strategy import OpenedMaps, SearchStrategy


class RetrievalStrategy(SearchStrategy):
    """Matches images that look alike; searches every whole map."""

    name = RETRIEVAL

    def open(self, maps: Sequence[Map], config: AnchorConfig, matcher: Matcher) -> OpenedMaps:
        """Make a searcher of each map; a network that describes images is loaded once."""
        make_once = cache(make_global_descriptor)
        return OpenedMaps([RetrievalSearcher(map_, config, matcher, make_once) for map_ in maps])


RETRIEVAL_SEARCH = RetrievalStrategy()
