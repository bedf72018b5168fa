"""The pose of a view by the landmarks that are followed into it, if these determine it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import SE3, Array, nearest_rotation, rotation_vector
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import PreparedImage
from visloc_ros.odometry.klt.local_map import Keyframe, LocalMap, rows_of
from visloc_ros.odometry.klt.motion import MotionModel
from visloc_ros.odometry.klt.parallax import ParallaxTable
from visloc_ros.odometry.klt.rolling_shutter import ExpectedTurn, expect_turn, fitted_turn
from visloc_ros.odometry.klt.tracking import Features, Ids, measure, seen_points
from visloc_ros.odometry.klt.triangulation import DEPTH_LOG_SIGMA, TRACK_SIGMA_PX
from visloc_ros.odometry.klt.two_view import bearings
from visloc_ros.tracking.pixels import Mask, Pixels
from visloc_ros.tracking.robust_pose import PoseFit, SeenPoints, find_pose, fit_pose

_SUPPORTING_DEG, _MIN_SUPPORTING = 1.0, 8  # parallax of landmarks with good depths (6 % at VGA), and how many it takes
_LEFT_SHARE = 0.25  # of the last view's landmarks: with fewer, a pose needs ...
_LEFT_FACTOR = 2  # times the usual number: the few that a sudden blur leaves are followed to wrong places together
_AGREEING_SHARE = 0.8  # of the landmarks: with fewer, the start value may have led between two groups of them
_LEAST_PARALLAX_DEG = 1e-4  # no depth comes from less
_MOVED_DEG = 0.5  # parallax that a turn on the spot does not give
_LARGEST_FLOW_SHARE = 0.17  # of the width, from view to view: new features leave the image before their depth is known
_TURN_ROUNDS = 3  # of a pose and the turn while the image is read: each round leaves less than a tenth of the error
_LONGEST_INTERVAL_S = 0.2  # over which a turn is taken for even


@dataclass(frozen=True, eq=False)
class LocatedFrame:
    """The pose of a view, ``camera_from_odom``, the features that agree with it, and the numbers behind it.

    ``flow_px`` is the median motion since the last accepted view; ``turn`` (3,) is that while the image is read.
    """

    camera_from_odom: SE3
    features: Features
    num_inliers: int
    flow_px: float
    turn: Array | None = None


class ViewLocator:
    """Finds the poses of views in one map; ``counts`` are the numbers behind the last one."""

    def __init__(self, local_map: LocalMap, motion: MotionModel, parallax: ParallaxTable, config: KltConfig) -> None:
        self.counts: dict[str, float] = {}
        self._map, self._motion, self._parallax, self._config = local_map, motion, parallax, config
        self._last_inliers = 0
        self._last_supported = 0  # number of the last keyframe while there was support
        self._last_known_ns = motion.stamp_ns  # when parallax last determined a translation

    def locate(
        self, view: PreparedImage, ids: Ids, pixels: Pixels, predicted: SE3, flow_px: float
    ) -> LocatedFrame | None:
        """Find the pose of a view from features (N,) followed to pixels (N, 2); None where they do not determine it."""
        self.counts = {"tracked": float(len(ids))}
        located = self._judged(self._locate(view, ids, pixels, predicted, flow_px), view.stamp_ns)
        self._last_inliers = self._last_inliers if located is None else located.num_inliers
        return located

    @property
    def least_inliers(self) -> int:
        """Least number of landmarks that a pose needs: more if nearly all were lost at once."""
        least = self._config.min_tracked
        return max(least, min(_LEFT_FACTOR * least, int(_LEFT_SHARE * self._last_inliers)))

    def _locate(
        self, view: PreparedImage, ids: Ids, pixels: Pixels, predicted: SE3, flow_px: float
    ) -> LocatedFrame | None:
        """The pose by its landmarks, with the turn while the image was read."""
        expected = self._expected_turn(view.stamp_ns, predicted)
        if expected is None:
            return self._fit(measure(view.camera, ids, pixels), predicted, flow_px)
        located = self._fit(measure(view.camera, ids, pixels, expected.mean), predicted, flow_px, expected.mean)
        for _ in range(_TURN_ROUNDS):
            turn = None if located is None else self._fitted_turn(view, located)
            if located is None or turn is None:
                return None
            features = measure(view.camera, ids, pixels, turn)
            located = self._fit(features, located.camera_from_odom, flow_px, turn)
        return located

    def num_supporting(self, features: Features) -> int:
        """How many of the features are landmarks whose depths are known by parallax."""
        _, known = self._map.landmarks.rows_of(features.ids)
        return int(np.count_nonzero(self._parallax.of(features.ids[known]) > _SUPPORTING_DEG))

    def is_unsure(self, features: Features, rows: NDArray[np.intp]) -> Mask:
        """Which features (N,), of landmarks (N,), have too little parallax for a depth.

        Landmarks of the start were found together and share one error, which the unit absorbs.
        """
        return np.asarray((self._map.landmarks.born[rows] > 0) & (self._parallax.of(features.ids) < _SUPPORTING_DEG))

    def is_supported(self, features: Features, stamp_ns: int) -> bool:
        """Whether enough of a view's features have depths that the length of a translation can rest on them."""
        supporting = self.num_supporting(features)
        self.counts["supporting"] = float(supporting)
        if supporting < _MIN_SUPPORTING:
            return False
        self._last_supported, self._last_known_ns = self._map.last.number, stamp_ns
        return True

    def _fit(self, features: Features, start: SE3, flow_px: float, turn: Array | None = None) -> LocatedFrame | None:
        """The pose that most landmarks agree with, and the features without those that do not."""
        rows, known = self._map.landmarks.rows_of(features.ids)
        if np.count_nonzero(known) < self._config.min_tracked:
            return None
        seen, points = features[known], self._map.landmarks.points[rows[known]]
        limit = self._config.max_reprojection_px
        where = replace(seen_points(points, seen, limit), spreads=self._spreads(seen, rows[known], start))
        fit = _fit(start, where, limit)
        self.counts["inliers"] = float(fit.num_inliers)
        if fit.num_inliers < self.least_inliers:
            return None
        agreeing = np.ones(len(features), dtype=bool)
        agreeing[np.flatnonzero(known)[~fit.inliers]] = False
        return LocatedFrame(fit.camera_from_world, features[agreeing], fit.num_inliers, flow_px, turn)

    def _spreads(self, seen: Features, rows: NDArray[np.intp], camera_from_odom: SE3) -> Array | None:
        """Steps (N, 3) along first views' rays by which landmarks may be off, by their parallax; None for none.

        If they were taken as known, few on one side of the image would turn the camera by their errors, and expected
        depths would determine the length of a translation. Those of the start share one error, which the unit absorbs.
        """
        landmarks = self._map.landmarks
        is_off = landmarks.born[rows] > 0
        if not np.any(is_off):
            return None
        angles = np.radians(np.maximum(self._parallax.of(seen.ids), _LEAST_PARALLAX_DEG))
        by_parallax = TRACK_SIGMA_PX / (seen.pixels_per_ray * angles)
        centre = camera_from_odom.inverse.translation
        distances = np.linalg.norm(landmarks.points[rows] - centre, axis=1)
        lengths = np.where(is_off, distances * np.minimum(DEPTH_LOG_SIGMA, by_parallax), 0.0)
        return np.asarray(self._parallax.first_directions(seen.ids) * lengths[:, None])

    def _judged(self, located: LocatedFrame | None, stamp_ns: int) -> LocatedFrame | None:
        """The view, if the length of its translation is known, or turned on the spot, if it is not.

        Where parallax does not determine that length, expected depths do; but not where the views are too far apart for
        that, nor for a motion after a long turn on the spot, when all landmarks of known depth are out of view.
        """
        if located is None or self.is_supported(located.features, stamp_ns):
            return located
        if located.flow_px > _LARGEST_FLOW_SHARE * self._map.last.camera.width:
            return None
        moved = np.count_nonzero(self._parallax.of(located.features.ids) > _MOVED_DEG)
        if moved >= self._config.min_tracked:
            self._last_known_ns = stamp_ns
            return located
        since = [keyframe for keyframe in self._map.keyframes if keyframe.number >= self._last_supported]
        pose = estimate_pure_rotation(since, located.features, self._motion.camera_from_odom, self._config)
        if pose is not None:
            return replace(located, camera_from_odom=pose)
        is_recent = stamp_ns - self._last_known_ns < self._config.recovery_s * NANOSECONDS
        return located if is_recent else None

    def _expected_turn(self, stamp_ns: int, camera_from_odom: SE3) -> ExpectedTurn | None:
        """Turn of a rolling shutter's camera while the view is read, at ``camera_from_odom``.

        None for a global shutter, and where the last accepted view is too old to estimate the present rate.
        """
        interval_s = (stamp_ns - self._motion.stamp_ns) / NANOSECONDS
        if self._config.readout_ms == 0.0 or interval_s > _LONGEST_INTERVAL_S:
            return None
        turned = camera_from_odom.rotation @ self._motion.camera_from_odom.rotation.T
        rate = rotation_vector(turned) / interval_s
        return expect_turn(1e-3 * self._config.readout_ms, rate, self._motion.turn_rate)

    def _fitted_turn(self, view: PreparedImage, located: LocatedFrame) -> Array | None:
        """The turn while the view is read that fits its landmarks and how fast the camera turned to get there."""
        expected = self._expected_turn(view.stamp_ns, located.camera_from_odom)
        if expected is None or located.turn is None:
            return None
        rows, known = self._map.landmarks.rows_of(located.features.ids)
        features, points = located.features[known], self._map.landmarks.points[rows[known]]
        seen = seen_points(points, features, self._config.max_reprojection_px)
        return fitted_turn(located.turn, expected, view.camera, features.pixels, seen, located.camera_from_odom)


def _fit(start: SE3, seen: SeenPoints, limit_px: float) -> PoseFit:
    """The pose that most landmarks agree with: where many do not, also without the start value.

    Of landmarks whose errors agree among each other, as by a wrong track along all epipolar lines or a part of the map
    that has moved, a descent from the start may end at a pose between these and the right ones.
    """
    fit = fit_pose(start, seen, limit_px)
    if fit.num_inliers >= _AGREEING_SHARE * len(seen):
        return fit
    other = find_pose(seen, limit_px)
    return fit if other is None or _cost(fit, limit_px) <= _cost(other, limit_px) else other


def _cost(fit: PoseFit, limit_px: float) -> float:
    """Squared errors up to the largest of an inlier (MSAC, Torr and Zisserman, CVIU 78, 2000)."""
    return float(np.square(np.minimum(fit.errors_px, limit_px)).sum())


_ITERATIONS = 5
_ERROR_SHARE = 0.4  # of the largest reprojection error; on the spot half of it is left, in motion soon twice as much
_COMPARED = 2  # times the landmarks that a pose needs: features by which a motion since a keyframe is noticed


def estimate_pure_rotation(
    keyframes: Sequence[Keyframe], features: Features, now: SE3, config: KltConfig
) -> SE3 | None:
    """``camera_from_odom`` with the centre of ``now``, turned by the features since the last of the keyframes.

    None where the camera has moved: where a rotation does not explain the features since that one and since the
    earliest keyframe that still shares enough of them. The last one alone would not show a motion of few views.
    """
    least, limit_px = _COMPARED * config.min_tracked, _ERROR_SHARE * config.max_reprojection_px
    earliest = next((item for item in keyframes if _num_shared(item, features) >= least), keyframes[-1])
    if _rotation_since(earliest, features, limit_px) is None:
        return None
    turn = _rotation_since(keyframes[-1], features, limit_px)
    if turn is None:
        return None
    rotation = nearest_rotation(turn @ keyframes[-1].camera_from_odom.rotation)
    return SE3(rotation, -rotation @ now.inverse.translation)


def _num_shared(keyframe: Keyframe, features: Features) -> int:
    return int(np.count_nonzero(rows_of(keyframe.features.ids, features.ids)[1]))


def _rotation_since(keyframe: Keyframe, features: Features, max_error_px: float) -> Array | None:
    """Rotation (3, 3) ``camera_from_keyframe`` that explains most of the features, if there is one."""
    rows, shared = rows_of(keyframe.features.ids, features.ids)
    if np.count_nonzero(shared) < 2:
        return None
    before, after = bearings(keyframe.features.rays[rows[shared]]), bearings(features.rays[shared])
    weights = np.ones(len(before))
    for _ in range(_ITERATIONS):
        turn = nearest_rotation((after * weights[:, None]).T @ before)
        errors_px = np.linalg.norm(after - before @ turn.T, axis=1) * features.pixels_per_ray[shared]
        weights = 1.0 / (np.median(errors_px) + errors_px + 1e-9)
    return turn if float(np.median(errors_px)) <= max_error_px else None
