"""The sliding window for bundle adjustment.

The newest keyframes move; older keyframes that see their landmarks are fixed anchors and hold position,
orientation and scale. A snapshot goes in, and the result is applied in one piece between two frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.odometry.klt.bundle import BundleProblem, DepthPrior, PointPrior, adjust
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.covariance import WindowUncertainty, assess_window
from visloc_ros.odometry.klt.lens import LensProblem, is_nominal, learn_lens
from visloc_ros.odometry.klt.local_map import Keyframe, LocalMap, rows_of
from visloc_ros.odometry.klt.tracking import Ids
from visloc_ros.odometry.klt.triangulation import DEPTH_LOG_SIGMA, TRACK_SIGMA_PX
from visloc_ros.tracking.pixels import sight_lines

_MAX_ANCHORS = 20  # fixed keyframes, those with the most shared landmarks
_MIN_SHARED = 10  # landmarks an anchor must share with the window
_ITERATIONS = 12  # at most: each window begins at the last one's result and usually converges sooner


@dataclass(frozen=True, eq=False)
class WindowSnapshot:
    """A bundle problem of one segment with the numbers of its keyframes (K,) and the ids of its landmarks (L,).

    With ``lens`` the lens is learnt along with it.
    """

    segment: int
    problem: BundleProblem
    keyframe_numbers: NDArray[np.int64]
    landmark_ids: Ids
    lens: LensProblem | None = None


class Adjustment(NamedTuple):
    """The result of a snapshot; ``radial`` (2,) is the lens's change behind ``adjusted``, if it was learnt."""

    snapshot: WindowSnapshot
    adjusted: BundleProblem
    uncertainty: WindowUncertainty
    radial: Array | None


def snapshot_window(local_map: LocalMap, config: KltConfig) -> WindowSnapshot | None:
    """Gather the newest keyframes, their landmarks, and the anchors; None while there is nothing to adjust."""
    window = local_map.keyframes[-config.window_keyframes :]
    ids = _landmarks_of(window, local_map)
    anchors = _anchors(local_map.keyframes[: -len(window)], ids)
    wanted = 1 if len(window) == len(local_map.keyframes) else 2  # at first the window's scale is free anyway
    missing = max(0, wanted - len(anchors))
    anchors, window = anchors + window[:missing], window[missing:]
    if not window or len(ids) < config.min_tracked:
        return None
    snapshot = _gather([*anchors, *window], len(anchors), ids, local_map)
    others = [one for one in local_map.keyframes_of_this_lens if one.number not in snapshot.keyframe_numbers]
    known = _point_prior(snapshot.problem.points, ids, others)
    return replace(snapshot, problem=replace(snapshot.problem, point_prior=known))


def snapshot_for_lens(
    local_map: LocalMap, radial: Array, num_keyframes: int, config: KltConfig
) -> WindowSnapshot | None:
    """Gather more keyframes than usual, free of older ones, to learn the lens; ``radial`` (2,) is its estimate so far.

    None for a camera whose calibration is not in doubt.
    """
    window = local_map.keyframes[-num_keyframes:]
    ids = _landmarks_of(window, local_map)
    if len(ids) < config.min_tracked or not is_nominal(window[-1].camera, radial):
        return None
    num_fixed = 1 if len(window) == len(local_map.keyframes) else 2
    snapshot = _gather(window, num_fixed, ids, local_map)
    pixels = np.concatenate([item.features.pixels[rows_of(ids, item.features.ids)[1]] for item in window])
    turns = _turns_of(window, ids)
    return replace(snapshot, lens=LensProblem(snapshot.problem, pixels, window[-1].camera, radial, turns))


def apply_window(local_map: LocalMap, snapshot: WindowSnapshot, adjusted: BundleProblem) -> SE3:
    """Move keyframes and landmarks to their adjusted places; returns ``new_odom_from_old_odom`` at the newest one.

    Keyframes and landmarks added after the snapshot move along with its newest keyframe.
    """
    by_number = {keyframe.number: keyframe for keyframe in local_map.keyframes}
    correction = _correction(snapshot, adjusted)
    for keyframe in local_map.keyframes:
        if keyframe.number > snapshot.keyframe_numbers.max():
            keyframe.camera_from_odom = keyframe.camera_from_odom @ correction.inverse
    for row, number in enumerate(snapshot.keyframe_numbers.tolist()):
        if not adjusted.is_fixed[row] and number in by_number:
            by_number[number].camera_from_odom = SE3(adjusted.rotations[row], adjusted.translations[row])
    newer = local_map.landmarks.born > snapshot.keyframe_numbers.max()
    local_map.landmarks.points[newer] = correction @ local_map.landmarks.points[newer]
    local_map.landmarks.set(snapshot.landmark_ids, adjusted.points)
    return correction


class InlineAdjuster:
    """Adjusts while the caller waits: every run gives the same result.

    It has the interface of ``BackgroundAdjuster``, but is never ``busy``, and never dies and ``restarts``.
    """

    busy = False
    restarts = 0

    def __init__(self) -> None:
        self._done: Adjustment | None = None

    def submit(self, snapshot: WindowSnapshot) -> None:
        """Adjust now."""
        self._done = Adjustment(snapshot, *solve(snapshot.problem, snapshot.lens))

    def finished(self) -> Adjustment | None:
        """The adjustment submitted last."""
        done, self._done = self._done, None
        return done

    def close(self) -> None:
        """Nothing runs."""


def solve(problem: BundleProblem, lens: LensProblem | None) -> tuple[BundleProblem, WindowUncertainty, Array | None]:
    """Adjust a window, learn the lens with it if requested, and estimate the covariance of the result."""
    learnt = None if lens is None else learn_lens(lens)
    adjusted, radial = (adjust(problem, _ITERATIONS), None) if learnt is None else learnt
    adjusted = _with_scale_of(problem, adjusted)
    return adjusted, assess_window(adjusted), radial


def _with_scale_of(problem: BundleProblem, adjusted: BundleProblem) -> BundleProblem:
    """Give a window with one fixed keyframe, whose scale nothing determines, the scale that it had.

    Expected depths and points put far away would draw it elsewhere. The newest keyframe's motion is not adjusted yet,
    so that the extent of the others tells the scale.
    """
    if np.count_nonzero(problem.is_fixed) != 1:
        return adjusted
    origin = problem.centres[np.argmax(problem.is_fixed)]
    others = slice(0, max(2, len(problem.rotations) - 1))
    before, after = (float(np.linalg.norm(one.centres[others] - origin)) for one in (problem, adjusted))
    return adjusted.scaled(before / after, origin) if min(before, after) > 0.0 else adjusted


def _landmarks_of(window: list[Keyframe], local_map: LocalMap) -> Ids:
    seen = np.unique(np.concatenate([keyframe.features.ids for keyframe in window]))
    _, known = local_map.landmarks.rows_of(seen)
    return np.asarray(seen[known])


def _turns_of(window: list[Keyframe], ids: Ids) -> Array | None:
    """Turn (N, 3) of the camera of each observation while its image was read; None if it is unknown."""
    if all(item.turn is None for item in window):
        return None
    turns = [np.zeros(3) if item.turn is None else item.turn for item in window]
    seen = [np.count_nonzero(rows_of(ids, item.features.ids)[1]) for item in window]
    return np.repeat(np.stack(turns), seen, axis=0)


def _anchors(candidates: list[Keyframe], ids: Ids) -> list[Keyframe]:
    shared = np.array([np.count_nonzero(rows_of(ids, item.features.ids)[1]) for item in candidates], dtype=int)
    best = np.sort(np.argsort(-shared, kind="stable")[:_MAX_ANCHORS])
    return [candidates[row] for row in best if shared[row] >= _MIN_SHARED]


def _gather(keyframes: list[Keyframe], num_fixed: int, ids: Ids, local_map: LocalMap) -> WindowSnapshot:
    owners, rows_in_points, rays, scales = [], [], [], []
    for number, keyframe in enumerate(keyframes):
        rows, known = rows_of(ids, keyframe.features.ids)
        owners.append(np.full(np.count_nonzero(known), number))
        rows_in_points.append(rows[known])
        rays.append(keyframe.features.rays[known])
        scales.append(keyframe.features.pixels_per_ray[known])
    landmark_rows, _ = local_map.landmarks.rows_of(ids)
    problem = BundleProblem(
        rotations=np.stack([keyframe.camera_from_odom.rotation for keyframe in keyframes]),
        translations=np.stack([keyframe.camera_from_odom.translation for keyframe in keyframes]),
        points=local_map.landmarks.points[landmark_rows],
        is_fixed=np.arange(len(keyframes)) < num_fixed,
        camera_rows=np.concatenate(owners),
        point_rows=np.concatenate(rows_in_points),
        rays=np.concatenate(rays),
        pixels_per_ray=np.concatenate(scales),
        depth_prior=_depth_prior(landmark_rows, local_map),
    )
    numbers = np.array([keyframe.number for keyframe in keyframes])
    return WindowSnapshot(local_map.segment, problem, numbers, ids)


def _depth_prior(landmark_rows: NDArray[np.intp], local_map: LocalMap) -> DepthPrior | None:
    """Expected distances of landmarks (L,) from the keyframes where they were triangulated, while these are kept."""
    table, keyframes = local_map.landmarks, local_map.keyframes
    rows = table.born[landmark_rows] - keyframes[0].number
    is_expected = np.isfinite(table.expected_distances[landmark_rows]) & (rows >= 0)
    if not np.any(is_expected):
        return None
    centres = np.stack([keyframe.camera_from_odom.inverse.translation for keyframe in keyframes])
    distances = np.where(is_expected, table.expected_distances[landmark_rows], 1.0)
    weights = np.where(is_expected, TRACK_SIGMA_PX / DEPTH_LOG_SIGMA, 0.0)
    return DepthPrior(centres[np.maximum(rows, 0)], distances, weights)


def _point_prior(points: Array, ids: Ids, others: Sequence[Keyframe]) -> PointPrior | None:
    """The information that keyframes outside a problem, where they stand, have on its landmarks (L, 3).

    Without it, noise would move a landmark that comes into view again after long: along its ray, if those of the
    problem that see it stand at one place, and with a keyframe that little else holds, if this is the only one.
    """
    information = np.zeros((len(ids), 3, 3))
    for keyframe in others:
        rows, seen = rows_of(keyframe.features.ids, ids)
        directions, distances = sight_lines(keyframe.camera_from_odom.inverse.translation, points[seen])
        across = np.eye(3) - directions[:, :, None] * directions[:, None]
        weights = np.square(keyframe.features.pixels_per_ray[rows[seen]] / distances)
        information[seen] += weights[:, None, None] * across
    return PointPrior(points, information) if np.any(information) else None


def _correction(snapshot: WindowSnapshot, adjusted: BundleProblem) -> SE3:
    row = int(np.argmax(snapshot.keyframe_numbers))
    before = SE3(snapshot.problem.rotations[row], snapshot.problem.translations[row])
    after = SE3(adjusted.rotations[row], adjusted.translations[row])
    return after.inverse @ before
