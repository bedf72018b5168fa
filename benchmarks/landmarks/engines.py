"""Engines that search by landmarks in other ways than the options offer, and what they try until they have a pose."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import LocalFeatures, Map, MapImage
from visloc_ros.features import LocalExtractor, Matcher
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.types import Matches
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.localization.evidence import Evidence, Query
from visloc_ros.localization.evidence_collector import EvidenceCollector
from visloc_ros.localization.strategies.landmarks import searcher
from visloc_ros.localization.strategies.landmarks.calibration import KEEP_ALL
from visloc_ros.localization.strategies.landmarks.config import LANDMARKS
from visloc_ros.localization.strategies.landmarks.landmark_map import LandmarkMap
from visloc_ros.localization.strategies.landmarks.opening import open_landmarks
from visloc_ros.localization.strategies.landmarks.recogniser import NearestRecogniser, Recogniser
from visloc_ros.localization.strategies.landmarks.searcher import (
    LandmarkSearcher,
    RankedLandmark,
    Recognition,
    rank_by_confidence,
)
from visloc_ros.localization.strategies.landmarks.tokens import Float32

SearcherClass = type[LandmarkSearcher]


@dataclass(frozen=True, eq=False)
class Parts:
    """A prepared map with its landmarks and what recognises them, and models that several engines share."""

    map: Map
    landmarks: LandmarkMap
    recogniser: Recogniser
    extractor: LocalExtractor
    matcher: Matcher

    @staticmethod
    def of(map_: Map, extractor: LocalExtractor, matcher: Matcher) -> "Parts":
        """The parts of a prepared map."""
        return Parts(map_, *open_landmarks(map_), extractor, matcher)

    def engine(self, options: Mapping[str, Any] | None = None) -> AnchorEngine:
        """An engine with these options of the configuration; ``matcher`` among them names another one."""
        config = AnchorConfig.from_mapping(options or {})
        matcher = None if options and "matcher" in options else self.matcher
        return AnchorEngine(self.map, config, self.extractor, matcher)

    def landmark_engine(
        self, options: Mapping[str, Any] | None = None, make: SearcherClass = LandmarkSearcher
    ) -> AnchorEngine:
        """An engine that searches these landmarks in the manner of a class."""

        def open_map(_: Map, config: AnchorConfig, __: LocalExtractor, matcher: Matcher | None) -> Any:
            return make(self.landmarks, self.recogniser, config, matcher or NearestMatcher())

        with patch("visloc_ros.localization.anchor.open_map_for_search", open_map):
            return self.engine({**(options or {}), "search": LANDMARKS})


def nearest_recogniser(landmarks: LandmarkMap) -> NearestRecogniser:
    """What must be beaten: a keypoint shows the landmark of the most similar point."""
    return NearestRecogniser(landmarks.points.descriptors, landmarks.labels, landmarks.num_landmarks + 1)


@dataclass(frozen=True, eq=False)
class Unfiltered:
    """A recogniser that takes no keypoint for background so surely that it would not be matched."""

    recogniser: Recogniser

    @property
    def num_classes(self) -> int:
        """As the recogniser has it."""
        return self.recogniser.num_classes

    @property
    def background_threshold(self) -> float:
        """All keypoints are kept."""
        return KEEP_ALL

    def recognise(self, features: LocalFeatures) -> Float32:
        """As the recogniser does."""
        return self.recogniser.recognise(features)


class UnrestrictedSearcher(LandmarkSearcher):
    """Matches all keypoints with all points of a landmark's frame, whatever was recognised."""

    def _chosen(
        self, recognition: Recognition, landmark: RankedLandmark, frame: MapImage
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        return np.arange(len(recognition.keypoint_rows)), np.arange(len(frame.point_rows))


class ConfidentSearcher(LandmarkSearcher):
    """Tries the landmarks first that have most probability in all."""

    def gather(self, query: Query, prior: SE3 | None) -> Iterator[Evidence]:
        """Evidence as always; the order of landmarks is made before the first of it."""
        evidence = super().gather(query, prior)
        with patch.object(searcher, "rank_landmarks", rank_by_confidence):
            first = next(evidence)
        yield first
        yield from evidence


@dataclass
class Tried:
    """How many landmarks or map images nearest neighbours were looked for in, and how many a network matched."""

    quickly: int = 0
    learned: int = 0

    def take(self) -> tuple[int, int]:
        """Both counts since the last time."""
        counts = self.quickly, self.learned
        self.quickly = self.learned = 0
        return counts


@contextmanager
def counted() -> Iterator[Tried]:
    """Count what all engines try."""
    tried = Tried()
    match_images: Callable[..., list[Matches]] = EvidenceCollector._match
    try_landmark: Callable[..., Evidence] = LandmarkSearcher._try

    def match(self: EvidenceCollector, query: Query, images: Sequence[MapImage]) -> list[Matches]:
        if isinstance(self.matcher, NearestMatcher):
            tried.quickly += len(images)
        else:
            tried.learned += len(images)
        return match_images(self, query, images)

    def try_one(self: LandmarkSearcher, *arguments: Any) -> Evidence:
        tried.quickly += 1
        return try_landmark(self, *arguments)

    with patch.object(EvidenceCollector, "_match", match), patch.object(LandmarkSearcher, "_try", try_one):
        yield tried
