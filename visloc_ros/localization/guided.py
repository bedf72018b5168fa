"""Map points searched where a predicted pose projects them: an anchor without retrieval and without a network.

The points of the references that overlap most with the predicted view are projected; each keypoint takes the point in
its window whose descriptor is most alike, and each point its best keypoint. The pose found projects the points again,
and a narrow window around them gives the final correspondences. Both passes share one matrix of similarities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import NO_POINT, Map
from visloc_ros.localization.acceptance import InlierSupport
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import Correspondences, Evidence, Query
from visloc_ros.localization.pose import MIN_POINTS, PoseSolution, solve_pose

MIN_SIMILARITY = 0.6
"""Dot product of unit descriptors; those of one point are seldom less alike."""
MIN_SIMILARITY_TO_MEAN = 0.55
"""The same for points that have the mean of their descriptors, which is less similar to a new view than the best of the
single descriptors."""

_NOT_SEEN = -1e6
_NOTHING = np.float32(-2.0)  # less than any similarity
_BLOCK = 32  # keypoints compared at once
_FINE_WINDOW_PX = 10.0  # a little more than the error that an inlier may have
_MIN_INLIER_RATIO = 0.5  # in the right place most of the found points agree


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates: map point rows (M,), one for each observation, and their similarity to each keypoint (N, M)."""

    point_rows: NDArray[np.int32]
    similarity: NDArray[np.float32]


class GuidedSearch:
    """Finds the points of given references around a predicted pose.

    ``min_similarity`` is the least dot product of the unit descriptors of a keypoint and the point that it shows.
    """

    def __init__(self, map_: Map, config: AnchorConfig, min_similarity: float = MIN_SIMILARITY) -> None:
        self._map = map_
        self._config = config
        self._min_similarity = min_similarity

    def gather(self, query: Query, references: list[int], prior: SE3) -> Evidence:
        """Evidence from map images by row, and its pose, whether or not that suffices."""
        config = self._config.guided
        camera = query.frame.camera
        window = config.window * float(np.hypot(camera.width, camera.height))
        with query.watch("guided"):
            candidates = self._candidates(query, references, prior, window)
            found = self._search(query, candidates, prior, window)
        coarse = self._solve(query, found, prior)
        if coarse is None:
            return self._evidence(found, references)
        with query.watch("guided"):
            found = self._search(query, candidates, coarse.map_from_camera, _FINE_WINDOW_PX)
        solution = self._solve(query, found, coarse.map_from_camera)
        if solution is None:
            return self._evidence(found, references)
        with query.watch("guided"):
            support = self._support(query, candidates, found, solution)
        return replace(self._evidence(found, references), solution=solution, support=support)

    def is_sure(self, evidence: Evidence) -> bool:
        """Whether the pose is so likely right that reference images need not be matched."""
        support = evidence.support
        if support is None or support.num_inliers < self._config.guided.min_inliers:
            return False
        if support.refusal(self._config.max_risk) is not None:
            return False
        return support.num_inliers >= _MIN_INLIER_RATIO * len(evidence.correspondences)

    def _candidates(self, query: Query, references: list[int], prior: SE3, window: float) -> Candidates:
        """Points of the references that keypoints may show: those that project within ``window`` pixels of one."""
        images = [self._map.images[row] for row in references]
        reach = np.array([query.frame.camera.width, query.frame.camera.height]) + window
        distinct = np.unique(np.concatenate([image.point_rows for image in images]))
        distinct = distinct[distinct != NO_POINT]
        projected = project(query.frame.camera, prior.inverse @ self._map.points[distinct])
        distinct = distinct[((projected >= -window) & (projected <= reach)).all(axis=1)]  # NaN behind the camera
        kept = [np.flatnonzero(np.isin(image.point_rows, distinct)) for image in images]
        known = np.concatenate([image.features.descriptors[rows] for image, rows in zip(images, kept, strict=True)])
        similarity = np.asarray(query.features.descriptors, np.float32) @ known.astype(np.float32).T
        point_rows = np.concatenate([image.point_rows[rows] for image, rows in zip(images, kept, strict=True)])
        return Candidates(point_rows, similarity)

    def _search(self, query: Query, candidates: Candidates, map_from_camera: SE3, window: float) -> Correspondences:
        """The most similar point within ``window`` pixels of each keypoint, every point once."""
        points = self._map.points[candidates.point_rows]
        projected = project(query.frame.camera, map_from_camera.inverse @ points)
        projected[~np.isfinite(projected)] = _NOT_SEEN
        best, scores = most_similar_within(
            query.features.keypoints, projected.astype(np.float32), window, candidates.similarity
        )
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= self._min_similarity]
        point_rows = candidates.point_rows[best[order]].astype(np.int64)
        first = np.sort(np.unique(point_rows, return_index=True)[1])
        return Correspondences(order[first], point_rows[first], scores[order[first]].astype(np.float64))

    def _solve(self, query: Query, found: Correspondences, prior: SE3) -> PoseSolution | None:
        if len(found) < max(MIN_POINTS, self._config.min_matches):
            return None
        with query.watch("pnp"):
            points = self._map.points[found.point_rows]
            return solve_pose(found.pixels(query.features), points, query.frame.camera, self._config.pose, prior)

    def _support(
        self, query: Query, candidates: Candidates, found: Correspondences, solution: PoseSolution
    ) -> InlierSupport:
        """The support of a pose, among all the points that should be in view."""
        camera, points = query.frame.camera, self._map.points
        projected = project(camera, solution.map_from_camera.inverse @ points[np.unique(candidates.point_rows)])
        in_view = ((projected >= 0) & (projected < [camera.width, camera.height])).all(axis=1)  # NaN behind the camera
        pixels = found.pixels(query.features)
        return InlierSupport.of_view(
            solution, pixels, points[found.point_rows], len(query.features), int(in_view.sum())
        )

    def _evidence(self, found: Correspondences, references: list[int]) -> Evidence:
        return Evidence(found, len(found), tuple(self._map.images[row].name for row in references))


def most_similar_within(
    keypoints: NDArray[np.float32],
    projected: NDArray[np.float32],
    window: float,
    similarity: NDArray[np.float32],
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The point within the square window of each keypoint that is most similar, and how similar it is, or _NOTHING.

    Keypoints are taken block by block from left to right, so that each is compared with a strip of the image only.
    """
    best, scores = np.zeros(len(keypoints), np.intp), np.full(len(keypoints), _NOTHING, np.float32)
    keypoints_from_left, from_left = (np.argsort(pixels[:, 0], kind="stable") for pixels in (keypoints, projected))
    lefts = projected[from_left, 0]
    for first in range(0, len(keypoints), _BLOCK):
        block = keypoints_from_left[first : first + _BLOCK]
        here = keypoints[block]
        begin, end = np.searchsorted(lefts, (here[:, 0].min() - window, here[:, 0].max() + window))
        if begin == end:
            continue
        strip = from_left[begin:end]
        near = np.abs(here[:, :1] - lefts[begin:end]) <= window
        near &= np.abs(here[:, 1:] - projected[strip, 1]) <= window
        alike = np.where(near, similarity[np.ix_(block, strip)], _NOTHING)
        columns = alike.argmax(axis=1)
        best[block], scores[block] = strip[columns], alike[np.arange(len(block)), columns]
    return best, scores
