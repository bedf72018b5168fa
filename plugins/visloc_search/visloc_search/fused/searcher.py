"""Evidence by fused descriptors: every keypoint is matched with the whole map at once, and the pose is computed.

After FUSELOC (arXiv 2408.12037). There is no retrieval and no reference image: the descriptor of the whole image is
part of that of each of its keypoints. Where the pose stays in doubt, a learned matcher matches the frames around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.types import GlobalDescriptor, Matcher
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import (
    Correspondences,
    Evidence,
    EvidenceCollector,
    EvidenceSolver,
    Query,
    refusal_of,
)
from visloc_ros.localization.guided import MIN_SIMILARITY_TO_MEAN
from visloc_ros.localization.pose import PoseSolution
from visloc_ros.localization.search_hint import SearchHint
from visloc_ros.localization.view_change import ViewOverlap, Viewpoints
from visloc_search.fused.approximate_index import make_index
from visloc_search.fused.fused_map import FusedMap
from visloc_search.fused.fusion import FusedQuery
from visloc_search.fused.point_index import as_correspondences
from visloc_search.reduced_map.frames import Covisibility

_HERE = 64  # frames that share most of a view: they show the place that was found
_RIVAL_FRAMES = 10  # that share most with the one that shows most of the matches elsewhere


class FusedSearcher:
    """Matches keypoints with the points of a map by descriptors that also depend on the place in the map."""

    min_similarity = MIN_SIMILARITY_TO_MEAN
    """Its points have the means of their descriptors."""

    def __init__(self, fused: FusedMap, describer: GlobalDescriptor, config: AnchorConfig, matcher: Matcher) -> None:
        self.map = fused.map
        self.overlap = ViewOverlap(fused.map)
        self.matcher = matcher
        self._fused = replace(fused, learned={})  # the index has it
        self._describer, self._config = describer, config
        self._index = make_index(fused.index, fused.codebook, fused.learned)
        self._collector = EvidenceCollector(fused.map, matcher, _until_accepted(config))
        self._solver = EvidenceSolver(fused.map, config.pose)
        self._point_rows = [image.point_rows for image in fused.map.images]
        self._parts = fused.image_parts
        self._covisibility = Covisibility(self._point_rows, len(fused.map.points))

    def gather(self, query: Query, prior: SE3 | None) -> Iterator[Evidence]:
        """Evidence of all keypoints, then, unless nothing can be found, of the learned matcher where that has more."""
        fused = self.fuse(query)
        found = self.match(query, fused)
        best = self._solve(query, found, prior)
        best = self._solver.with_rival(query, best, [best, *self._rivals(query, fused, best)])
        refusal = refusal_of(best, self._config.min_matches)
        yield replace(best, refusal=refusal)
        if refusal is None and query.is_thorough and not isinstance(self.matcher, NearestMatcher):
            learned = self._collector.gather_around(query, best, self.overlap, prior)
            yield max(best, learned, key=_probability)

    def fuse(self, query: Query) -> FusedQuery:
        """The query with the descriptor of the whole image."""
        with query.watch("global"):
            local = np.asarray(query.features.descriptors, np.float32)
            descriptor = self._describer.describe(query.upright_image, query.upright)
            reduced = self._parts.of_query(descriptor)
            return FusedQuery(local, reduced, self._fused.fusion.lam)

    def match(self, query: Query, fused: FusedQuery) -> Correspondences:
        """Keypoints with the points that they may show, of the whole map or of the part within reach of the hint."""
        with query.watch("matching"):
            allowed = None if query.hint is None else self._within_reach(query.hint)
            return as_correspondences(fused, self._index.search(fused, allowed))

    def _solve(self, query: Query, found: Correspondences, prior: SE3 | None) -> Evidence:
        """Evidence with its pose; where a hint rules that out, with the pose from matches in other places."""
        evidence = Evidence(found, len(found))
        if len(found) < self._config.min_matches:
            return evidence
        solved = self._solver.solve(query, evidence, prior)
        if query.hint is None or solved.refusal is None:
            return solved
        wrong = self._solver.solve(replace(query, hint=None), evidence, prior).solution
        assert wrong is not None  # the hint has ruled it out
        there = self.overlap.rank(wrong.map_from_camera, wrong.camera, _HERE)
        left = np.flatnonzero(~self._shown_by(there)[found.point_rows])
        if len(left) < self._config.min_matches:
            return solved
        return self._solver.solve(query, Evidence(_some(found, left), len(left)), prior)

    def _rivals(self, query: Query, fused: FusedQuery, best: Evidence) -> list[Evidence]:
        """Evidence of the other place that most of the pose's inliers may show as well.

        They are matched again with the points elsewhere: the image's part of the descriptors, which distinguishes
        places, is about the same for all points of one place, so that it does not hide a place that looks the same.
        """
        if best.solution is None:
            return []
        with query.watch("matching"):
            there = self._elsewhere(query, fused, best, best.solution)
        return [] if len(there) < self._config.min_matches else [self._solver.solve(query, Evidence(there, len(there)))]

    def _elsewhere(self, query: Query, fused: FusedQuery, best: Evidence, solution: PoseSolution) -> Correspondences:
        """Correspondences of the inliers with points elsewhere, where most of these lie together."""
        here = self._shown_by(self.overlap.rank(solution.map_from_camera, solution.camera, _HERE))
        allowed = ~here if query.hint is None else ~here & self._within_reach(query.hint)
        if not allowed.any():
            return Correspondences.none()
        keypoints = np.unique(best.correspondences.keypoint_rows[solution.inliers])
        some = replace(fused, local=fused.local[keypoints])
        found = as_correspondences(some, self._index.search(some, allowed))
        matched = np.zeros(len(self.map.points), bool)
        matched[found.point_rows] = True
        most = int(np.argmax([np.count_nonzero(matched[rows]) for rows in self._point_rows]))
        there = np.flatnonzero(self._shown_by([most, *self._covisibility.rank(most, _RIVAL_FRAMES)])[found.point_rows])
        of_query = Correspondences(keypoints[found.keypoint_rows], found.point_rows, found.scores)
        return _some(of_query, there)

    def _shown_by(self, frames: list[int]) -> NDArray[np.bool_]:
        """Which points (P,) frames by row show."""
        shown = np.zeros(len(self.map.points), bool)
        for row in frames:
            shown[self._point_rows[row]] = True
        return shown

    def _within_reach(self, hint: SearchHint) -> NDArray[np.bool_]:
        """Which points (P,) may be seen, by the hint about the camera's position and heading."""
        return self._shown_by(np.flatnonzero(hint.permits_views(self._views)).tolist())

    @cached_property
    def _views(self) -> Viewpoints:
        return Viewpoints.of_map(self.map)


def _until_accepted(config: AnchorConfig) -> AnchorConfig:
    """The learned matcher matches frames only until the pose is accepted: neighbours have found the place already."""
    return replace(config, stop_inliers=config.guided.min_inliers, stop_spread=0.0)


def _probability(evidence: Evidence) -> float:
    """Probability that the pose is right; 0 without one."""
    return 0.0 if evidence.support is None else evidence.support.probability


def _some(found: Correspondences, rows: NDArray[np.intp]) -> Correspondences:
    """The correspondences of these rows (K,)."""
    return Correspondences(found.keypoint_rows[rows], found.point_rows[rows], found.scores[rows])
