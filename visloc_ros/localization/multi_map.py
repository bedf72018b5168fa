"""Search in several maps: from one image, its map and its pose there, or the reason why there is none.

If the search ranks maps by what a query shows, only likely maps are searched. A
pose is accepted only where no other map explains the image about as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import LocalFeatures, Map
from visloc_ros.core.types import Anchor, AnchorPose, Frame, Reason, Rejection
from visloc_ros.features import LocalExtractor, Matcher, make_extractor
from visloc_ros.localization.anchor import AnchorEngine
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import RIVAL_SHARE, SURE_LOG_ODDS, Query
from visloc_ros.localization.models import check_models
from visloc_ros.localization.pose import is_by_chance
from visloc_ros.localization.search_hint import SearchHint
from visloc_ros.localization.searchable_map import open_maps

_MOST_TRIED = 3  # maps by votes: where as many fail, the image hardly shows any
_LEAST_VOTES = 0.25  # of those for the map with the most: others are not worth a trial

Result = AnchorPose | Rejection


class MultiMapEngine:
    """Finds single images in one of several maps; all share one extractor and one matcher.

    Raises ConfigError without maps or where two have one name, MapError when a map was made by other models than
    ``extractor`` (default: made from the configuration), or was not prepared for the search.
    """

    def __init__(
        self,
        maps: Sequence[Map],
        config: AnchorConfig | None = None,
        extractor: LocalExtractor | None = None,
        matcher: Matcher | None = None,
    ) -> None:
        _check_names(maps)
        self.config = config or AnchorConfig()
        self.extractor = extractor or make_extractor(self.config.features)
        for map_ in maps:
            check_models(map_, self.extractor, self.config.search)
        opened = open_maps(maps, self.config, self.extractor, matcher)
        self._ranking = opened.ranking
        self._engines = [
            AnchorEngine(map_, self.config, self.extractor, searcher=searcher)
            for map_, searcher in zip(maps, opened.searchers, strict=True)
        ]

    def best_calibration(self, calibration: CameraCalibration) -> CameraCalibration:
        """The best calibration so far, over all maps, of the camera whose frames carry this one."""
        known = [engine.best_calibration(calibration) for engine in self._engines]
        return min(known, key=lambda one: (one.is_provisional, one.focal_sigma))

    def has_settled(self, calibration: CameraCalibration) -> bool:
        """Whether the estimate of this camera is final in one of the maps."""
        return any(engine.has_settled(calibration) for engine in self._engines)

    def localize(self, frame: Frame, features: LocalFeatures | None = None, hint: SearchHint | None = None) -> Anchor:
        """Find ``map_from_camera`` of a frame, and the map; ``features`` are those of the frame where they are known.

        ``hint`` may hold a text; positions and headings refer to one map, and are refused. A rejection names the map
        that came closest. Raises CalibrationError when the image has another size than its calibration, MapError or
        ConfigError for a hint that the maps cannot use.
        """
        if hint is not None and (hint.position is not None or hint.heading is not None):
            raise ConfigError("a position and a heading are of one map: search that alone, or give a text only")
        return self.solve(replace(self.extract(frame, features), hint=hint))

    def extract(self, frame: Frame, features: LocalFeatures | None = None) -> Query:
        """The first half of ``localize``."""
        return self._engines[0].extract(frame, features)

    def solve(self, query: Query) -> Anchor:
        """The second half of ``localize``.

        A quick search of all maps comes first: otherwise each rival takes as long as an image that is hard to find.
        """
        results = self._search(replace(query, is_thorough=False))
        if not any(isinstance(result, AnchorPose) for result in results.values()):
            results = self._search(query)
        return self._decide(query, results)

    def _search(self, query: Query) -> dict[int, Result]:
        """Results by row of the map: of those worth a trial until one is found, and of its rivals."""
        results: dict[int, Result] = {}
        for row in self._worth_a_trial(query):
            results[row] = self._engines[row].solve(query)
            if isinstance(results[row], AnchorPose):
                rivals = [rival for rival in self._rivals(query, row) if rival not in results]
                results |= {rival: self._engines[rival].solve(query) for rival in rivals}
                break
        return results

    def _worth_a_trial(self, query: Query) -> Sequence[int]:
        """Rows of the maps in the order in which to try them."""
        if self._ranking is None:
            return range(len(self._engines))
        votes = self._ranking.votes(query)
        order = np.argsort(-votes, kind="stable")[:_MOST_TRIED]
        return [int(row) for row in order if votes[row] >= _LEAST_VOTES * votes[order[0]]]

    def _rivals(self, query: Query, found: int) -> Sequence[int]:
        """Rows of the maps that the image may show as well as the one that was found."""
        return range(len(self._engines)) if self._ranking is None else self._ranking.rivals(query, found)

    def _decide(self, query: Query, results: Mapping[int, Result]) -> Anchor:
        """The pose that explains the image best, unless another map does about as well and no text decides."""
        poses = [row for row, result in results.items() if isinstance(result, AnchorPose)]
        likely = {row: self._log_likelihood(query, row, result) for row, result in results.items()}

        def inliers(row: int) -> tuple[int, int]:
            return _inliers_and_correspondences(results[row])

        best = max(poses or results, key=inliers)
        preferred = [row for row in poses if inliers(row)[0] >= RIVAL_SHARE * inliers(best)[0]]
        best = max((row for row in preferred if likely[row] - likely[best] >= SURE_LOG_ODDS), key=inliers, default=best)
        others = [row for row in results if row != best and likely[best] - likely[row] < SURE_LOG_ODDS]
        result = results[best]
        if isinstance(result, AnchorPose) and any(self._is_rival(query, results[row], result) for row in others):
            result = _ambiguous(result)
        return Anchor(result, self._engines[best].map_identity)

    def _is_rival(self, query: Query, other: Result, pose: AnchorPose) -> bool:
        """Whether the pose in another map explains the image about as well, and better than chance does."""
        inliers, correspondences = _inliers_and_correspondences(other)
        by_chance = is_by_chance(inliers, correspondences, query.frame.camera, self.config.pose.max_error_px)
        return not by_chance and inliers >= RIVAL_SHARE * pose.num_inliers

    def _log_likelihood(self, query: Query, row: int, result: Result) -> float:
        """Log likelihood of a map's result given the text that was read."""
        if self._ranking is None:
            return 0.0
        landmarks = result.inlier_landmarks if isinstance(result, AnchorPose) else np.empty(0, np.int32)
        return self._ranking.log_likelihood(query, row, landmarks)


def _check_names(maps: Sequence[Map]) -> None:
    """Raise ConfigError where names do not identify the maps."""
    if not maps:
        raise ConfigError("name at least one map")
    names = Counter(map_.name for map_ in maps)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ConfigError(f"two maps are called '{twice[0]}', so that a pose would not identify its map: rename one")


def _inliers_and_correspondences(result: Result) -> tuple[int, int]:
    if isinstance(result, AnchorPose):
        return result.num_inliers, result.num_matches
    return int(result.counts.get("inliers", 0)), int(result.counts.get("correspondences", 0))


def _ambiguous(pose: AnchorPose) -> Rejection:
    counts = {
        "correspondences": pose.num_matches,
        "inliers": pose.num_inliers,
        "reprojection_error_px": pose.reprojection_error_px,
    }
    return Rejection(pose.stamp_ns, Reason.AMBIGUOUS_PLACE, counts, pose.stage_ms)
