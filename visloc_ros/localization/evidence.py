"""2D-3D correspondences of one query, which every way of searching gathers as evidence, and the pose from it.

Evidence from reference images is gathered one after another until the pose is sure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pycolmap
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, LocalFeatures, Map, MapImage
from visloc_ros.core.timing import Stopwatch
from visloc_ros.core.types import Frame, Image, Reason
from visloc_ros.features.types import Matcher, Matches
from visloc_ros.localization.acceptance import InlierSupport
from visloc_ros.localization.config import AnchorConfig, PoseConfig
from visloc_ros.localization.image_copies import AS_GIVEN, ImageCopy, turned_image
from visloc_ros.localization.pose import PoseSolution, solve_pose, solve_pose_of_unknown_camera
from visloc_ros.localization.search_hint import SearchHint
from visloc_ros.localization.view_change import ViewOverlap, typical_depth, view_change

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Correspondences:
    """Query keypoints and the map points they may show, as parallel rows (N,), without repeats; scores (N,)."""

    keypoint_rows: Rows
    point_rows: Rows
    scores: Array

    def __len__(self) -> int:
        return len(self.keypoint_rows)

    @staticmethod
    def none() -> Correspondences:
        """No evidence."""
        return Correspondences(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))

    def pixels(self, features: LocalFeatures) -> Array:
        """COLMAP pixels (N, 2) of the query keypoints."""
        return features.keypoints[self.keypoint_rows].astype(np.float64)


def lift(matches: Matches, image: MapImage) -> Correspondences:
    """Follow matches (query, reference) to the 3D points of the reference keypoints; those without one are dropped."""
    keypoint_rows = matches.pairs[:, 0].astype(np.int64)
    point_rows = image.point_rows[matches.pairs[:, 1]].astype(np.int64)
    has_point = point_rows != NO_POINT
    return Correspondences(keypoint_rows[has_point], point_rows[has_point], matches.scores[has_point].astype(float))


def merge(parts: Sequence[Correspondences]) -> Correspondences:
    """Join the evidence of several references, the most promising first.

    Every distinct point of a keypoint is kept; exact repeats become one and their scores add up.
    """
    keypoint_rows, point_rows = (
        np.concatenate(rows) for rows in zip(*((one.keypoint_rows, one.point_rows) for one in parts), strict=True)
    )
    if len(keypoint_rows) == 0:
        return Correspondences.none()
    num_points = int(point_rows.max()) + 1
    unique, rows = np.unique(keypoint_rows * num_points + point_rows, return_inverse=True)
    scores = np.asarray(np.bincount(rows, np.concatenate([part.scores for part in parts])), np.float64)
    order = np.argsort(-scores, kind="stable")
    unique = unique[order]
    return Correspondences(unique // num_points, unique % num_points, scores[order])


RIVAL_SHARE = 0.5
"""Of the inliers of a pose: a place that only looks alike explains far less."""
SURE_LOG_ODDS = math.log(40.0)
"""Of two poses: the engine takes as many risks elsewhere (AnchorConfig.max_risk)."""

_SAME_VIEW = 0.3  # radians: a fifth of what a camera sees; two poses of one place differ by far less


@dataclass(frozen=True, eq=False)
class Query:
    """A frame, its features, and the watch that times what is done with it.

    Where ``cameras`` are given, the frame's own is unknown: one of them is right, or none has the right focal length.
    ``hint`` is what is known beside the image about the place. Without ``is_thorough`` nearest neighbours replace a
    learned matcher, which would take ten times as long. ``features`` are at their places in the image as given, found
    in a ``copy`` of it; ``by_copy`` holds those of all copies tried so far, at their places in the copy, nothing where
    the features were given. Its pose may have ``risk_share`` of the largest risk. ``judged`` is the evidence so far,
    each piece with the features that it is about.
    """

    frame: Frame
    features: LocalFeatures
    watch: Stopwatch
    cameras: Sequence[pycolmap.Camera] = ()
    hint: SearchHint | None = None
    is_thorough: bool = True
    copy: ImageCopy = AS_GIVEN
    risk_share: float = 1.0
    by_copy: dict[ImageCopy, LocalFeatures] = field(default_factory=dict)
    judged: list[tuple[LocalFeatures, Evidence]] = field(default_factory=list)

    @cached_property
    def upright(self) -> LocalFeatures:
        """The features in the image set upright, for all that depends on how they lie to each other."""
        return self.features.upright

    @cached_property
    def upright_image(self) -> Image:
        """The image set upright."""
        return turned_image(self.frame.image, self.copy.quarters)

    def for_another_search(self) -> Query:
        """The same query with a separate watch, which continues from the times so far."""
        return replace(self, watch=self.watch.divided(1))

    def prefers(self, one: Evidence, other: Evidence) -> bool:
        """Whether the hint clearly favours the first of two pieces of evidence with a pose."""
        if self.hint is None or one.solution is None or other.solution is None:
            return False
        log_odds = self.hint.log_odds(one.solution.map_from_camera, other.solution.map_from_camera)
        return log_odds + one.log_likelihood - other.log_likelihood >= SURE_LOG_ODDS

    def rules_out(self, solution: PoseSolution | None) -> bool:
        """Whether there is a pose, but one that contradicts what is known about the camera's position or heading."""
        return solution is not None and self.hint is not None and self.hint.rules_out(solution.map_from_camera)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Correspondences from the references matched so far, and, once it was computed, the pose with what it rests on.

    ``rival`` is the best evidence for another pose, where there is any; ``refusal`` why the image will not be found,
    where the way of searching knows that already. ``log_likelihood`` is that of this place by
    the hint's text; only differences of two have a meaning.
    """

    correspondences: Correspondences = field(default_factory=Correspondences.none)
    num_matches: int = 0
    references: tuple[str, ...] = ()
    solution: PoseSolution | None = None
    support: InlierSupport | None = None
    rival: Evidence | None = None
    refusal: Reason | None = None
    log_likelihood: float = 0.0

    @property
    def num_inliers(self) -> int:
        """Number of correspondences that agree with the pose; 0 without one."""
        return self.solution.num_inliers if self.solution else 0

    @property
    def inlier_rows(self) -> Rows:
        """Rows (N,) of the map points that agree with the pose; none without one."""
        rows = self.correspondences.point_rows
        return rows[self.solution.inliers] if self.solution else rows[:0]

    @property
    def is_by_chance(self) -> bool:
        """Whether there is no pose, or none better than wrong correspondences alone would give."""
        return self.solution is None or self.solution.is_by_chance


class EvidenceSolver:
    """Computes the pose that evidence from one map gives, and what it rests on."""

    def __init__(self, map_: Map, config: PoseConfig) -> None:
        self._points = map_.points
        self._config = config

    def pixels_and_points(self, query: Query, evidence: Evidence) -> tuple[Array, Array]:
        """Keypoints (N, 2) and map points (N, 3) of the correspondences."""
        rows = evidence.correspondences
        return rows.pixels(query.features), self._points[rows.point_rows]

    def solve(self, query: Query, evidence: Evidence, prior: SE3 | None = None) -> Evidence:
        """The evidence with its pose, where it gives one; ``prior`` is a predicted ``map_from_camera``.

        A pose that the query's hint rules out is dropped: another place looks like the image, unless the pose is by
        chance.
        """
        pixels, points = self.pixels_and_points(query, evidence)
        with query.watch("pnp"):
            if query.cameras:
                solution = solve_pose_of_unknown_camera(pixels, points, query.cameras, self._config)
            else:
                solution = solve_pose(pixels, points, query.frame.camera, self._config, prior)
        if solution is not None and query.rules_out(solution):
            return replace(evidence, refusal=None if solution.is_by_chance else Reason.AMBIGUOUS_PLACE)
        return self.supported(query, replace(evidence, solution=solution))

    def supported(self, query: Query, evidence: Evidence) -> Evidence:
        """The evidence with the support of its pose."""
        if evidence.solution is None:
            return evidence
        pixels, points = self.pixels_and_points(query, evidence)
        support = InlierSupport.of_matches(evidence.solution, pixels, points, len(query.features), self._config)
        return replace(evidence, support=support)

    def with_rival(self, query: Query, best: Evidence, solved: Sequence[Evidence]) -> Evidence:
        """The evidence with the best one of those that show another place.

        Where two places explain the image about as well, the query's hint decides.
        """
        best = max(self._preferred(query, best, solved), key=lambda one: one.num_inliers, default=best)
        if best.solution is None:
            return best
        rivals = [one for one in solved if self.is_rival(best, one) and not query.prefers(best, one)]
        return replace(best, rival=max(rivals, key=lambda one: one.num_inliers, default=None))

    def is_rival(self, best: Evidence, other: Evidence) -> bool:
        """Whether the pose of other evidence is of another place."""
        if best.solution is None or other.solution is None:
            return False
        return is_elsewhere(best.solution, self._points[best.inlier_rows], other.solution)

    def _preferred(self, query: Query, best: Evidence, solved: Sequence[Evidence]) -> list[Evidence]:
        """Evidence about as good as the best, of a pose that the query's hint prefers."""
        if best.solution is None or query.hint is None:
            return []
        good = (one for one in solved if one.num_inliers >= RIVAL_SHARE * best.num_inliers)
        return [one for one in good if query.prefers(one, best)]


def refusal_of(evidence: Evidence, min_matches: int) -> Reason | None:
    """Why a learned matcher will find nothing either: no more neighbours agree than wrong ones do by chance."""
    if evidence.refusal is not None or not evidence.is_by_chance:
        return evidence.refusal
    return Reason.FEW_MATCHES if len(evidence.correspondences) < min_matches else Reason.FEW_INLIERS


def is_elsewhere(one: PoseSolution, points: Array, other: PoseSolution) -> bool:
    """Whether a camera that saw points (N, 3) would see other things from the other pose."""
    return sees_elsewhere(one.map_from_camera, points, other.map_from_camera)


def sees_elsewhere(pose: SE3, points: Array, other: SE3) -> bool:
    """As ``is_elsewhere``, by the poses ``map_from_camera``."""
    return view_change(pose, typical_depth(pose, points), other) > _SAME_VIEW


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
        self._solver = EvidenceSolver(map_, config.pose)

    def gather(self, query: Query, candidates: Iterable[Sequence[int]], prior: SE3 | None = None) -> Evidence:
        """Evidence of the best cluster of map images; ``candidates`` are rows by rank, matched until one suffices."""
        clusters: list[CovisibilityCluster] = []
        for rows in self._batches(candidates):
            images = [self.map.images[row] for row in rows]
            for image, matches in zip(images, self.match_images(query, images), strict=True):
                clusters = self._add(query, clusters, image, matches)
            clusters = [self._solve(query, cluster, prior, self.config.stop_inliers) for cluster in clusters]
            sure = next((cluster.evidence for cluster in clusters if self._is_sure(cluster.evidence)), None)
            if sure is not None:
                return self._solver.with_rival(query, sure, [cluster.evidence for cluster in clusters])
        solved = [self._solve(query, cluster, prior, self.config.min_matches).evidence for cluster in clusters]
        best = max(solved, key=lambda one: (one.num_inliers, len(one.correspondences)), default=Evidence())
        return self._solver.with_rival(query, best, solved)

    def gather_around(self, query: Query, found: Evidence, overlap: ViewOverlap, prior: SE3 | None) -> Evidence:
        """Evidence from the map images around a pose that was found otherwise."""
        assert found.solution is not None
        with query.watch("retrieval"):
            rows = overlap.rank(found.solution.map_from_camera, query.frame.camera, self.config.top_k)
        evidence = self.gather(query, [rows], prior)
        return replace(evidence, rival=evidence.rival or found.rival)

    def _batches(self, candidates: Iterable[Sequence[int]]) -> Iterator[Sequence[int]]:
        for rows in candidates:
            for start in range(0, len(rows), self.matcher.batch_size):
                yield rows[start : start + self.matcher.batch_size]

    def match_images(self, query: Query, images: Sequence[MapImage]) -> list[Matches]:
        """Matches of the query with each image; a way of searching may match parts of images only."""
        with query.watch("matching"):
            return self.matcher.match_many(query.upright, [image.features for image in images])

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
        return replace(cluster, evidence=self._solver.solve(query, evidence, prior))

    def _is_sure(self, evidence: Evidence) -> bool:
        support, config = evidence.support, self.config
        if support is None or support.num_inliers < config.stop_inliers or support.spread < config.stop_spread:
            return False
        return support.refusal(config.max_risk) is None


def _join(parts: Sequence[Evidence], correspondences: Correspondences, num_matches: int, reference: str) -> Evidence:
    """Evidence of several parts and of one more reference, its pose yet to be found."""
    return Evidence(
        merge([*(part.correspondences for part in parts), correspondences]),
        sum(part.num_matches for part in parts) + num_matches,
        (*(name for part in parts for name in part.references), reference),
    )
