"""2D-3D evidence for one query, gathered over references until the pose is sure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map, MapImage
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import Frame
from visloc_ros.features.types import Matcher, Matches
from visloc_ros.localization.acceptance import InlierSupport
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.correspondences import Correspondences, lift, merge
from visloc_ros.localization.pose import PoseSolution, solve_pose, solve_pose_of_unknown_camera
from visloc_ros.localization.view_change import typical_depth, view_change

_SAME_VIEW = 0.3  # radians: a fifth of what a camera sees; two poses of one place differ by far less


@dataclass(frozen=True, eq=False)
class Query:
    """A frame, its features, and the watch that times what is done with it.

    Where ``cameras`` are given, the frame's own is not known: one of them is right, or none has the right focal length.
    """

    frame: Frame
    features: LocalFeatures
    watch: Stopwatch
    cameras: Sequence[pycolmap.Camera] = ()


@dataclass(frozen=True, eq=False)
class Evidence:
    """Correspondences from the references matched so far, and, once it was computed, the pose with what it rests on.

    ``rival`` is the best evidence for another pose, where there is any.
    """

    correspondences: Correspondences = field(default_factory=Correspondences.none)
    num_matches: int = 0
    references: tuple[str, ...] = ()
    solution: PoseSolution | None = None
    support: InlierSupport | None = None
    rival: Evidence | None = None

    @property
    def num_inliers(self) -> int:
        """Number of correspondences that agree with the pose; 0 without one."""
        return self.solution.num_inliers if self.solution else 0


@dataclass(frozen=True, eq=False)
class CovisibilityCluster:
    """References that see common points, directly or through each other, those points' rows, and the evidence."""

    point_rows: NDArray[np.int32]
    evidence: Evidence


class EvidenceCollector:
    """Matches a query against references of a map, one after another, and merges the evidence of covisible ones.

    Two places that look alike are solved apart (covisibility clustering, Sarlin et al. 2019): their matches agree on
    no common pose and would only outvote each other.
    """

    def __init__(self, map_: Map, matcher: Matcher, config: AnchorConfig) -> None:
        self.map = map_
        self.matcher = matcher
        self.config = config

    def gather(self, query: Query, candidates: Iterable[Sequence[int]], prior: SE3 | None = None) -> Evidence:
        """Evidence of the best cluster of map images; ``candidates`` are rows by rank, matched until one suffices."""
        clusters: list[CovisibilityCluster] = []
        for rows in self._batches(candidates):
            images = [self.map.images[row] for row in rows]
            for image, matches in zip(images, self._match(query, images), strict=True):
                clusters = self._add(query, clusters, image, matches)
            clusters = [self._solve(query, cluster, prior, self.config.stop_inliers) for cluster in clusters]
            sure = next((cluster.evidence for cluster in clusters if self._is_sure(cluster.evidence)), None)
            if sure is not None:
                return self._with_rival(sure, [cluster.evidence for cluster in clusters])
        solved = [self._solve(query, cluster, prior, self.config.min_matches).evidence for cluster in clusters]
        best = max(solved, key=lambda one: (one.num_inliers, len(one.correspondences)), default=Evidence())
        return self._with_rival(best, solved)

    def _with_rival(self, best: Evidence, solved: Sequence[Evidence]) -> Evidence:
        """The evidence with the best one of those that show another place."""
        if best.solution is None:
            return best
        points = self.map.points[best.correspondences.point_rows[best.solution.inliers]]
        rivals = [
            one for one in solved if one.solution is not None and is_elsewhere(best.solution, points, one.solution)
        ]
        return replace(best, rival=max(rivals, key=lambda one: one.num_inliers, default=None))

    def pixels_and_points(self, query: Query, evidence: Evidence) -> tuple[Array, Array]:
        """Keypoints (N, 2) and map points (N, 3) of the correspondences."""
        rows = evidence.correspondences
        return rows.pixels(query.features), self.map.points[rows.point_rows]

    def _batches(self, candidates: Iterable[Sequence[int]]) -> Iterator[Sequence[int]]:
        for rows in candidates:
            for start in range(0, len(rows), self.matcher.batch_size):
                yield rows[start : start + self.matcher.batch_size]

    def _match(self, query: Query, images: Sequence[MapImage]) -> list[Matches]:
        with query.watch("matching"):
            return self.matcher.match_many(query.features, [image.features for image in images])

    def _add(
        self, query: Query, clusters: list[CovisibilityCluster], image: MapImage, matches: Matches
    ) -> list[CovisibilityCluster]:
        """The clusters with one more image; clusters that it connects become one."""
        with query.watch("merge"):
            point_rows = image.point_rows[image.point_rows != NO_POINT]
            connected = [cluster for cluster in clusters if self._is_covisible(cluster, point_rows)]
            rows = np.unique(np.concatenate([point_rows, *(cluster.point_rows for cluster in connected)]))
        with query.watch("correspondences"):
            evidence = _join(
                [cluster.evidence for cluster in connected], lift(matches, image), len(matches), image.name
            )
        return [*(cluster for cluster in clusters if cluster not in connected), CovisibilityCluster(rows, evidence)]

    def _is_covisible(self, cluster: CovisibilityCluster, point_rows: NDArray[np.int32]) -> bool:
        return int(np.isin(point_rows, cluster.point_rows).sum()) >= self.config.min_shared_points

    def _solve(
        self, query: Query, cluster: CovisibilityCluster, prior: SE3 | None, min_correspondences: int
    ) -> CovisibilityCluster:
        """The cluster with its pose, once it has enough correspondences."""
        evidence = cluster.evidence
        if evidence.solution is not None or len(evidence.correspondences) < min_correspondences:
            return cluster
        pixels, points = self.pixels_and_points(query, evidence)
        with query.watch("pnp"):
            if query.cameras:
                solution = solve_pose_of_unknown_camera(pixels, points, query.cameras, self.config.pose)
            else:
                solution = solve_pose(pixels, points, query.frame.camera, self.config.pose, prior)
        return replace(cluster, evidence=self.supported(query, replace(evidence, solution=solution)))

    def supported(self, query: Query, evidence: Evidence) -> Evidence:
        """The evidence with what its pose rests on."""
        if evidence.solution is None:
            return evidence
        pixels, points = self.pixels_and_points(query, evidence)
        support = InlierSupport.of_matches(evidence.solution, pixels, points, len(query.features), self.config.pose)
        return replace(evidence, support=support)

    def _is_sure(self, evidence: Evidence) -> bool:
        support, config = evidence.support, self.config
        if support is None or support.num_inliers < config.stop_inliers or support.spread < config.stop_spread:
            return False
        return support.refusal(config.max_risk) is None


def is_elsewhere(one: PoseSolution, points: Array, other: PoseSolution) -> bool:
    """Whether a camera that saw points (N, 3) would see other things from the other pose."""
    pose = one.map_from_camera
    return view_change(pose, typical_depth(pose, points), other.map_from_camera) > _SAME_VIEW


def _join(parts: Sequence[Evidence], correspondences: Correspondences, num_matches: int, reference: str) -> Evidence:
    """Evidence of several parts and of one more reference, its pose yet to be found."""
    return Evidence(
        merge([*(part.correspondences for part in parts), correspondences]),
        sum(part.num_matches for part in parts) + num_matches,
        (*(name for part in parts for name in part.references), reference),
    )
