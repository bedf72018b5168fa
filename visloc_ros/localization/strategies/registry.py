"""Ways of searching by name."""

from __future__ import annotations

from visloc_ros.core.map import Map
from visloc_ros.features import LocalExtractor, Matcher, make_matcher
from visloc_ros.localization.config import LANDMARKS, AnchorConfig
from visloc_ros.localization.searcher import Searcher
from visloc_ros.localization.strategies.retrieval import RetrievalSearcher


def make_searcher(
    map_: Map, config: AnchorConfig, extractor: LocalExtractor, matcher: Matcher | None = None
) -> Searcher:
    """The way of searching that ``config.search`` names; ``matcher`` where it is loaded already.

    Raises MapError in words where the map lacks what that needs, ModelError where a model cannot be loaded.
    """
    matcher = matcher or make_matcher(config.matcher, extractor.info.name)
    if config.search == LANDMARKS:
        from visloc_ros.localization.strategies.landmarks.opening import open_landmarks
        from visloc_ros.localization.strategies.landmarks.searcher import LandmarkSearcher

        return LandmarkSearcher(*open_landmarks(map_, config.features.device), config, matcher)
    return RetrievalSearcher(map_, config, matcher)
