"""The search by landmarks as the package finds it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map import Map
from visloc_ros.core.progress import Progress
from visloc_ros.features.types import Matcher
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.strategy import NOTHING_ELSE, Examples, OpenedMaps, PreparedMap, SearchStrategy
from visloc_ros.localization.text_files import read_texts
from visloc_search.landmarks.config import LANDMARKS, NETWORK, PreparationConfig


class LandmarkStrategy(SearchStrategy):
    """Matches the landmarks that points, or a network, recognise; a network serves all maps prepared together."""

    name, preparation = LANDMARKS, PreparationConfig

    def open(self, maps: Sequence[Map], config: AnchorConfig, matcher: Matcher) -> OpenedMaps:
        """Make a searcher of each map, and the ranking of maps by the landmarks that an image shows."""
        from visloc_search.landmarks.map_ranking import LandmarkMapRanking
        from visloc_search.landmarks.opening import (
            are_comparable,
            open_landmarks_of,
            open_texts,
        )
        from visloc_search.landmarks.searcher import LandmarkSearcher

        searchers = [
            LandmarkSearcher(landmarks, recogniser, config, matcher, open_texts(map_, landmarks.num_landmarks))
            for map_, (landmarks, recogniser) in zip(maps, open_landmarks_of(maps, config.features.device), strict=True)
        ]
        ranking = LandmarkMapRanking(searchers, are_together=are_comparable(maps)) if len(maps) > 1 else None
        return OpenedMaps(searchers, ranking)

    def prepare(
        self, maps: Sequence[Path], options: PreparationConfig, progress: Progress, examples: Examples = NOTHING_ELSE
    ) -> list[PreparedMap]:
        """Write landmarks into maps, with a network that distinguishes them where the options name one."""
        from visloc_search.landmarks.preparation import prepare_landmarks

        texts = None if examples.texts is None else read_texts(examples.texts)
        scenes = prepare_landmarks(maps, options, progress, examples.frames, examples.elsewhere, texts)
        return [
            PreparedMap(one.path, one.figures, f"{one.figures['landmarks']} landmarks, {one.figures['points']} points")
            for one in scenes
        ]

    def prepares_together(self, options: PreparationConfig) -> bool:
        """One network distinguishes the landmarks of all maps."""
        return options.recogniser == NETWORK

    def is_prepared(self, manifests: Sequence[Manifest]) -> bool:
        """Whether all the maps are prepared, those with a network together."""
        from visloc_search.landmarks.opening import names_network, prepared_together

        entries = [manifest.prepared.get(LANDMARKS) for manifest in manifests]
        without_network = all(entry and not names_network(entry) for entry in entries)
        return without_network or prepared_together(manifests)

    def prepared_map(self, map_: Map) -> Map:
        """Points of landmarks, labelled, and the frames that show them."""
        from visloc_search.landmarks.landmark_files import load_landmark_map

        return load_landmark_map(map_.prepared[LANDMARKS], map_.manifest).map

    def labelled_map(self, map_: Map) -> Map:
        """The same, whose points have the labels of their landmarks."""
        return self.prepared_map(map_)


LANDMARK_SEARCH = LandmarkStrategy()
