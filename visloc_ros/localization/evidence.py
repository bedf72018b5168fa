"""2D-3D evidence for one query, gathered over references until the pose is sure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from visloc_ros.core.geometry import Array
from visloc_ros.core.map import LocalFeatures, Map, MapImage
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import Frame
from visloc_ros.features.types import Matcher
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.correspondences import Correspondences, lift, merge
from visloc_ros.localization.gates import spread
from visloc_ros.localization.pose import PoseSolution, solve_pose


@dataclass(frozen=True, eq=False)
class Query:
    """A frame, its features, and the watch that times what is done with it."""

    frame: Frame
    features: LocalFeatures
    watch: Stopwatch


@dataclass(frozen=True, eq=False)
class Evidence:
    """Correspondences from the references matched so far, and the pose they give once it was computed."""

    correspondences: Correspondences = field(default_factory=Correspondences.none)
    num_matches: int = 0
    references: tuple[str, ...] = ()
    solution: PoseSolution | None = None


class EvidenceCollector:
    """Matches a query against references of a map, one after another, and merges what they say."""

    def __init__(self, map_: Map, matcher: Matcher, config: AnchorConfig) -> None:
        self.map = map_
        self.matcher = matcher
        self.config = config

    def gather(self, query: Query, candidates: list[int]) -> Evidence:
        """Evidence from map images by row, in that order, ended early when enough inliers spread far enough."""
        evidence = Evidence()
        for row in candidates:
            evidence = self._add_reference(query, evidence, self.map.images[row])
            if len(evidence.correspondences) >= self.config.stop_inliers:
                evidence = self._solve(query, evidence)
                if self._is_sure(query, evidence):
                    return evidence
        return self._solve(query, evidence)

    def pixels_and_points(self, query: Query, evidence: Evidence) -> tuple[Array, Array]:
        """Keypoints (N, 2) and map points (N, 3) of the correspondences."""
        rows = evidence.correspondences
        return rows.pixels(query.features), self.map.points[rows.point_rows]

    def _add_reference(self, query: Query, evidence: Evidence, image: MapImage) -> Evidence:
        with query.watch("matching"):
            matches = self.matcher.match(query.features, image.features)
        with query.watch("correspondences"):
            merged = merge((evidence.correspondences, lift(matches, image)))
        return Evidence(merged, evidence.num_matches + len(matches), (*evidence.references, image.name))

    def _solve(self, query: Query, evidence: Evidence) -> Evidence:
        if evidence.solution is not None or len(evidence.correspondences) < self.config.min_matches:
            return evidence
        pixels, points = self.pixels_and_points(query, evidence)
        with query.watch("pnp"):
            solution = solve_pose(pixels, points, query.frame.camera, self.config.pose)
        return replace(evidence, solution=solution)

    def _is_sure(self, query: Query, evidence: Evidence) -> bool:
        solution = evidence.solution
        if solution is None or solution.num_inliers < self.config.stop_inliers:
            return False
        inlier_pixels = evidence.correspondences.pixels(query.features)[solution.inliers]
        return spread(inlier_pixels, query.frame.camera) >= self.config.stop_spread
