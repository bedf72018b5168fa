"""The covariance of the motion: the window determines it at every keyframe, and the frames that follow share it out.

Errors of a feature that is followed for long are not independent from frame to frame: its patch drifts. Inverse
normal equations, which take every observation as independent, give several times too little variance. Here each
landmark's whole track counts as one observation, and the scatter of the tracks' pulls on the solution is its
covariance (the cluster-robust "sandwich" of Liang and Zeger, Biometrika 73, 1986).

Landmarks that were made at the same keyframe share its error until an adjustment corrects it, so that the pose of a
frame moves when new ones join, when old ones leave the image, and when the adjustment is done. By how much, groups of
the same birth show, which pull the pose in different directions: the same sandwich, with groups as clusters.

Two constants stand for errors that no residual shows; ``benchmarks/odometry/uncertainty.py`` measures their effect. An
exact lens, global shutter and still scene need the least: simulated rooms need 1.2 to 2.9 times the visible variance
(seeds 11 to 16, median error over 0.1 to 3 s), so that 4 is on the safe side for the best cameras. Real cameras need
more, by different amounts, which fusion estimates while it runs (``fusion/smoothing/variance_components.py``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import inverse_jacobian, lever_jacobian, move_covariance
from visloc_ros.odometry.klt.bundle import GAUGE_DAMPING, HUBER_PX, BundleProblem, ReducedCameraSystem
from visloc_ros.tracking.robust_pose import MIN_DEPTH, pose_jacobian

_SPAN = 10  # keyframe steps over which motion is assessed: its errors grow faster than those of single steps
_SHARED_ERROR_PX = 0.1  # in a keyframe step, of all features alike (lens model): poses absorb it without a trace
_UNSHOWN = 4.0  # variance for variance that shows, see below


@dataclass(frozen=True, eq=False)
class WindowUncertainty:
    """Covariances (6, 6) of motion in axes of odom: ``total`` up to the newest keyframe, ``step`` of one step to it.

    ``total`` is since the keyframe up to ten before it, or the oldest. ``log_scale_step`` is the variance by which
    one step changes the logarithm of the scale.
    """

    total: Array
    step: Array
    log_scale_step: float


def assess_window(problem: BundleProblem) -> WindowUncertainty:
    """Estimate the uncertainty of an adjusted problem."""
    newest = len(problem.rotations) - 1
    first = max(0, newest - _SPAN, min(newest - 1, int(np.argmin(problem.is_fixed))))
    covariance, steps = _covariance(problem, first), newest - first
    centres = problem.centres[first:]
    step = move_covariance(covariance[:6, :6] / steps, centres.mean(axis=0) - centres[-1])
    total = covariance[:6, :6].copy()
    shared = np.square(_SHARED_ERROR_PX / np.median(problem.pixels_per_ray))
    step[3:, 3:] += shared * np.eye(3)
    total[3:, 3:] += steps * shared * np.eye(3)
    return WindowUncertainty(total, step, float(covariance[6, 6]) / steps)


def _covariance(problem: BundleProblem, first: int) -> Array:
    """Covariance (7, 7) of the motion from keyframe ``first`` to the newest, and of the logarithm of its scale."""
    equations = ReducedCameraSystem(problem)
    equations.linearise(problem, HUBER_PX)
    equations.eliminate(GAUGE_DAMPING)
    motion, (poses, points) = _motion(problem, first), _log_depth_change(problem, first)
    by_points = np.zeros((7, *points.shape))
    by_points[6] = points
    pulls = equations.influence(np.concatenate([motion, poses[None]])[:, equations.free_rows], by_points)
    return np.asarray(_UNSHOWN * pulls @ pulls.T / _curvature_share(problem) ** 2)


def _curvature_share(problem: BundleProblem) -> float:
    """True curvature of the robust error over the one that its weights stand for: outliers bend it sideways only."""
    errors = np.linalg.norm(problem.residuals(), axis=1)
    weights = np.minimum(1.0, HUBER_PX / np.maximum(errors, 1e-12))
    return float(np.where(errors <= HUBER_PX, 1.0, 0.5 * weights).mean() / weights.mean())


class MotionCovariance:
    """Covariance of ``odom_from_camera`` since the segment's first frame, grown from frame to frame.

    Every frame gets the share of the last keyframe step that its features moved by, more where the pose rests on fewer
    features than usual, and the disagreement of its landmarks: all of it if the map has changed, else as much as the
    share of the landmarks that are lost. The increments belong to the motion in between: the difference of two
    covariances, the earlier one carried along by ``move_covariance``, is the covariance of the motion from one to the
    other.
    """

    def __init__(self, step_px: float) -> None:
        """``step_px``: initial value of the features' motion from keyframe to keyframe."""
        self.value: Array | None = None
        self._step: Array | None = None
        self._step_px, self._moved_px = step_px, 0.0
        self._usual = deque[float](maxlen=_SPAN)  # information of the steps that an adjustment assesses
        self._sum, self._count = np.zeros((6, 6)), 0
        self._position = np.zeros(3)
        self._before: PoseUncertainty | None = None
        self._has_map_changed = False  # since then

    def learn(self, window: WindowUncertainty, position: Array) -> None:
        """Take over the covariances of an adjustment, which put the camera at ``position`` (3,)."""
        self.value = window.total if self.value is None else move_covariance(self.value, position - self._position)
        self._step, self._position, self._has_map_changed = window.step, position, True

    def move(self, odom_from_camera: SE3, moved_px: float, pose: PoseUncertainty) -> None:
        """Go on to the next pose, after a motion of the features, with what its landmarks say of it."""
        moved_px = min(moved_px, self._step_px)
        self._moved_px += moved_px
        self._sum, self._count = self._sum + pose.information, self._count + 1
        jump = self._jump_to(pose)
        if self.value is None or self._step is None:
            return
        usual = median(self._usual) if self._usual else _log_det(self._sum / self._count)
        # The mean over all directions, of logarithms: one in which the points say little would decide any other mean.
        weakness = float(np.exp((usual - _log_det(pose.information)) / 6.0))
        self.value = move_covariance(self.value, odom_from_camera.translation - self._position)
        self.value += moved_px / self._step_px * weakness * self._step + jump
        self._position = odom_from_camera.translation

    def close_step(self) -> None:
        """The last pose became a keyframe."""
        self._step_px = 0.5 * (self._step_px + self._moved_px)
        if self._count:
            self._usual.append(_log_det(self._sum / self._count))
        self._sum, self._count, self._moved_px = np.zeros((6, 6)), 0, 0.0
        self._has_map_changed = True

    def _jump_to(self, pose: PoseUncertainty) -> Array:
        """Covariance (6, 6) of how far other landmarks, or moved ones, have moved the pose."""
        before, has_changed = self._before, self._has_map_changed
        self._before, self._has_map_changed = pose, False
        if before is None:
            return np.zeros((6, 6))
        if has_changed:
            return before.disagreement + pose.disagreement
        return max(0.0, 1.0 - pose.num_landmarks / before.num_landmarks) * pose.disagreement


@dataclass(frozen=True, eq=False)
class PoseUncertainty:
    """What landmarks say of the pose ``odom_from_camera`` of one frame, in axes of odom.

    ``information`` (6, 6) takes the landmarks as known, ``disagreement`` (6, 6) is the covariance of the pose by the
    errors that landmarks made at the same keyframe share.
    """

    information: Array
    disagreement: Array
    num_landmarks: int

    @staticmethod
    def of(camera_from_odom: SE3, points: Array, rays: Array, pixels_per_ray: Array, born: Array) -> PoseUncertainty:
        """By landmarks (N, 3), where they are seen (N, 2), and the keyframes (N,) that they were made at.

        Those made at a keyframe below 0 are in no group.
        """
        x, y, z = (camera_from_odom @ points).T
        u, v = x / z, y / z
        residuals = (np.stack([u, v]) - rays.T) * pixels_per_ray
        jacobian = pose_jacobian(u, v, 1.0 / z) * pixels_per_ray
        variance = max(float(np.mean(np.square(residuals))), _SHARED_ERROR_PX**2)
        flat = jacobian.transpose(1, 0, 2).reshape(6, -1)
        hessian = flat @ flat.T
        to_odom = inverse_jacobian(camera_from_odom.rotation)
        information = to_odom @ hessian @ to_odom.T / variance
        pulls = np.einsum("ain,an->ni", jacobian, residuals)
        step = _scatter(hessian, pulls[born >= 0], born[born >= 0])
        return PoseUncertainty(information, to_odom @ step @ to_odom.T, len(points))


def _scatter(hessian: Array, pulls: Array, groups: Array) -> Array:
    """Covariance (6, 6) of a step by the pulls (N, 6) of landmarks, with one error for each group (N,) of them."""
    numbers, group_rows = np.unique(groups, return_inverse=True)
    if len(numbers) < 2:
        return np.zeros((6, 6))
    summed = np.zeros((len(numbers), 6))
    np.add.at(summed, group_rows, pulls)
    steps = np.linalg.solve(hessian, (summed - summed.mean(axis=0)).T)
    return np.asarray(steps @ steps.T * len(numbers) / (len(numbers) - 1))


def _log_det(information: Array) -> float:
    return float(np.linalg.slogdet(information)[1])


def _motion(problem: BundleProblem, first: int) -> Array:
    """Change (6, K, 6) of the motion from a keyframe to the newest, in axes of odom, by steps of the keyframes."""
    change, centres = np.zeros((6, len(problem.rotations), 6)), problem.centres
    change[:, -1] = inverse_jacobian(problem.rotations[-1])
    change[:, first] = -lever_jacobian(centres[-1] - centres[first]) @ inverse_jacobian(problem.rotations[first])
    return change


def _log_depth_change(problem: BundleProblem, first: int) -> tuple[Array, Array]:
    """Change of the mean log depth, newest less first keyframe, by steps of keyframes (K, 6) and points (L, 3)."""
    poses, points = np.zeros((len(problem.rotations), 6)), np.zeros_like(problem.points)
    for sign, row in ((-1.0, first), (1.0, len(problem.rotations) - 1)):
        seen = problem.point_rows[problem.camera_rows == row]
        local = problem.points[seen] @ problem.rotations[row].T + problem.translations[row]
        ahead = local[:, 2] > MIN_DEPTH
        seen, (x, y, z) = seen[ahead], local[ahead].T
        share = sign / max(1, len(seen)) / z
        poses[row, [0, 1, 5]] = np.sum(share * [y, -x, np.ones_like(z)], axis=1)
        points[seen] += share[:, None] * problem.rotations[row, 2]
    return poses, points
