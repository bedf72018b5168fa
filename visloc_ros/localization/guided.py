"""Map points searched where a predicted pose projects them: an anchor without retrieval and without a network.

The points of the references that overlap most with the predicted view are projected; each keypoint takes the point in
its window whose descriptor is most alike, and each point its best keypoint. The pose found projects the points again,
and a narrow window around them gives the final correspondences. Both passes share one matrix of similarities.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import NO_POINT, Map
from visloc_ros.features.types import CompareDescriptors, Similarity
from visloc_ros.localization.acceptance import InlierSupport
from visloc_ros.localization.config import AnchorConfig
from visloc_ros.localization.evidence import Correspondences, Evidence, Query
from visloc_ros.localization.pose import MIN_POINTS, PoseSolution, estimate_pose, solve_pose

MIN_SIMILARITY = 0.6
"""Dot product of unit descriptors; those of one point are seldom less alike."""
MIN_SIMILARITY_TO_MEAN = 0.55
"""The same for points that have the mean of their descriptors, which is less similar to a new view than the best of the
single descriptors."""

_OTHERS = 0.99
_SAMPLED_IMAGES, _SAMPLED_POINTS = 8, 128  # half a million pairs

_NOT_SEEN = -1e6
_NOTHING = np.float32(-2.0)  # less than any similarity
_FINE_WINDOW_PX = 10.0  # a little more than the error that an inlier may have
_MIN_INLIER_RATIO = 0.5  # in the right place most of the found points agree


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates: map point rows (M,), one for each observation, and how similar each is to each keypoint."""

    point_rows: NDArray[np.int32]
    similarity: Similarity


class GuidedSearch:
    """Finds the points of given references around a predicted pose.

    ``min_similarity`` is the least dot product of the unit descriptors of a keypoint and the point that it shows. Where
    descriptors of different points are as similar, as those of RootSIFT and XFeat are, it is raised to the one that a
    hundredth of other points exceeds. ``compare`` computes them elsewhere than here.
    """

    def __init__(
        self,
        map_: Map,
        config: AnchorConfig,
        min_similarity: float = MIN_SIMILARITY,
        compare: CompareDescriptors | None = None,
    ) -> None:
        self._map = map_
        self._config = config
        self._given_similarity = min_similarity
        self._compare = compare or SimilarityInMemory

    def prepare(self) -> None:
        """Read a few images now that the first search would read."""
        _ = self._min_similarity

    @cached_property
    def _min_similarity(self) -> float:
        return max(self._given_similarity, similarity_of_others(self._map))

    def gather(self, query: Query, references: list[int], prior: SE3) -> Evidence:
        """Evidence from map images by row, and its pose, whether or not that suffices."""
        config = self._config.guided
        camera = query.frame.camera
        window = config.window * float(np.hypot(camera.width, camera.height))
        with query.watch("guided"):
            candidates = self._candidates(query, references, prior, window)
            found = self._search(query, candidates, prior, window)
        if not self._suffices(found):
            return self._evidence(found, references)
        with query.watch("pnp"):
            coarse = estimate_pose(*self._pixels_and_points(query, found), camera, self._config.pose, prior)
        if coarse is None:
            return self._evidence(found, references)
        with query.watch("guided"):
            found = self._search(query, candidates, coarse, _FINE_WINDOW_PX)
        solution = self._solve(query, found, coarse) if self._suffices(found) else None
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
        is_candidate = np.zeros(len(self._map.points) + 1, np.bool_)
        is_candidate[distinct] = True  # the last one, which NO_POINT finds, stays false
        kept = [np.flatnonzero(is_candidate[image.point_rows]) for image in images]
        known = np.concatenate([image.features.descriptors[rows] for image, rows in zip(images, kept, strict=True)])
        similarity = self._compare(np.asarray(query.features.descriptors, np.float32), np.asarray(known, np.float32))
        point_rows = np.concatenate([image.point_rows[rows] for image, rows in zip(images, kept, strict=True)])
        return Candidates(point_rows, similarity)

    def _search(self, query: Query, candidates: Candidates, map_from_camera: SE3, window: float) -> Correspondences:
        """The most similar point within ``window`` pixels of each keypoint, every point once."""
        points = self._map.points[candidates.point_rows]
        projected = project(query.frame.camera, map_from_camera.inverse @ points)
        projected[~np.isfinite(projected)] = _NOT_SEEN
        best, scores = candidates.similarity.most_similar_within(
            query.features.keypoints, projected.astype(np.float32), window
        )
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= self._min_similarity]
        point_rows = candidates.point_rows[best[order]].astype(np.int64)
        first = np.sort(np.unique(point_rows, return_index=True)[1])
        return Correspondences(order[first], point_rows[first], scores[order[first]].astype(np.float64))

    def _suffices(self, found: Correspondences) -> bool:
        return len(found) >= max(MIN_POINTS, self._config.min_matches)

    def _pixels_and_points(self, query: Query, found: Correspondences) -> tuple[Array, Array]:
        return found.pixels(query.features), self._map.points[found.point_rows]

    def _solve(self, query: Query, found: Correspondences, prior: SE3) -> PoseSolution | None:
        with query.watch("pnp"):
            pixels, points = self._pixels_and_points(query, found)
            return solve_pose(pixels, points, query.frame.camera, self._config.pose, prior)

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


class SimilarityInMemory:
    """Dot products (N, M) of descriptors (N, D) of keypoints and (M, D) of points."""

    def __init__(self, descriptors: NDArray[np.float32], known: NDArray[np.float32]) -> None:
        self._values = descriptors @ known.T

    def most_similar_within(
        self, keypoints: NDArray[np.float32], projected: NDArray[np.float32], window: float
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The most similar point within the window of each keypoint."""
        return most_similar_within(keypoints, projected, window, self._values)


def similarity_of_others(map_: Map) -> float:
    """The dot product of descriptors that a hundredth of the pairs of different points exceeds; -1 without any pair.

    Points of a few images, evenly spaced over the map, stand for all.
    """
    rows = np.unique(np.linspace(0, len(map_.images) - 1, _SAMPLED_IMAGES).astype(int))
    images = [map_.images[row] for row in rows]
    sampled = [(image, np.flatnonzero(image.point_rows != NO_POINT)[:_SAMPLED_POINTS]) for image in images]
    points = np.concatenate([image.point_rows[shown] for image, shown in sampled])
    known = np.concatenate([image.features.descriptors[shown] for image, shown in sampled]).astype(np.float32)
    others = (known @ known.T)[points[:, None] != points]
    return float(np.quantile(others, _OTHERS)) if len(others) else -1.0


def most_similar_within(
    keypoints: NDArray[np.float32],
    projected: NDArray[np.float32],
    window: float,
    similarity: NDArray[np.float32],
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The point within the square window of each keypoint that is most similar, and how similar it is, or _NOTHING.

    Of equally similar points it is the leftmost. Only pairs that are near each other are looked at.
    """
    best, scores = np.zeros(len(keypoints), np.intp), np.full(len(keypoints), _NOTHING, np.float32)
    rows, columns = _near_pairs(keypoints, projected, window)
    if not len(rows):
        return best, scores
    alike = similarity[rows, columns]
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    scores[rows[starts]] = np.maximum.reduceat(alike, starts)
    winners = np.flatnonzero(alike == scores[rows])
    winners = winners[np.lexsort((columns[winners], projected[columns[winners], 0], rows[winners]))]
    winners = winners[np.flatnonzero(np.diff(rows[winners], prepend=-1))]
    best[rows[winners]] = columns[winners]
    return best, scores


def _near_pairs(
    keypoints: NDArray[np.float32], projected: NDArray[np.float32], window: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of keypoints and of points no more than ``window`` pixels apart in x and in y, sorted by keypoint.

    Points are sorted into square cells, in rows: those near a keypoint are in a run of each of five rows.
    """
    if not len(keypoints) or not len(projected):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    corner = keypoints.min(axis=0) - window
    inside = ((projected >= corner) & (projected <= keypoints.max(axis=0) + window)).all(axis=1)
    candidates, side = np.flatnonzero(inside), window / 2
    cells, own = (((pixels - corner) / side).astype(np.intp) for pixels in (projected[candidates], keypoints))
    in_a_row = int(own[:, 0].max()) + 5  # more than there are, so that no run reaches the next row
    number = cells[:, 1] * in_a_row + cells[:, 0]
    order = np.argsort(number, kind="stable")
    of_rows = (own[:, 1:] + np.arange(-2, 3)) * in_a_row + own[:, :1]
    begins, ends = (np.searchsorted(number[order], of_rows + step).ravel() for step in (-2, 3))
    lengths = ends - begins
    rows = np.repeat(np.arange(len(keypoints)).repeat(of_rows.shape[1]), lengths)
    columns = np.arange(len(rows)) + np.repeat(begins - (lengths.cumsum() - lengths), lengths)
    columns = candidates[order[columns]]
    for own_axis, axis in zip(keypoints.T, projected.T, strict=True):
        near = np.abs(own_axis[rows] - axis[columns]) <= window
        rows, columns = rows[near], columns[near]
    return rows, columns
