"""Bundle adjustment in numpy: Levenberg-Marquardt on the Schur complement, every step vectorised.

Sized for a sliding window (tens of keyframes, thousands of landmarks); the work sits in BLAS and releases the
interpreter, so that it can run beside the frame path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from visloc_ros.core.geometry import Array, rotation_matrix
from visloc_ros.odometry.klt.blocks import back_substitute, cholesky, damped, forward_substitute
from visloc_ros.tracking.robust_pose import MIN_DEPTH, pose_jacobian

HUBER_PX = 0.5  # about the accuracy of a tracked corner
_FIRST_DAMPING, _SMALLEST_DAMPING, _LARGEST_DAMPING = 1e-7, 1e-9, 1e6
_LEAST_GAIN = 1e-4  # share of the cost; the gain of later iterations is far below the noise of the pixels
GAUGE_DAMPING = 1e-8  # an open scale has no pull, but it must not make the equations singular
_GROUPED = 4  # neighbouring keyframes that count as one when landmarks are grouped by the keyframes that see them


@dataclass(frozen=True, eq=False)
class DepthPrior:
    """Expected distances (L,) in odom of points from where they were first seen, ``centres`` (L, 3).

    ``weights`` (L,) are pixels for an error of 1 in the logarithm of the distance, 0 without an expectation.
    """

    centres: Array
    distances: Array
    weights: Array

    def residuals(self, points: Array) -> Array:
        """Weighted errors (L,) of the logarithms of the distances, in pixels."""
        distances = np.linalg.norm(points - self.centres, axis=1)
        return np.asarray(self.weights * np.log(np.maximum(distances, MIN_DEPTH) / self.distances))

    def jacobian(self, points: Array) -> Array:
        """Change (L, 3) of the residuals with the points."""
        lines = points - self.centres
        return np.asarray(lines * (self.weights / np.maximum(np.square(lines).sum(axis=1), MIN_DEPTH))[:, None])


@dataclass(frozen=True, eq=False)
class PointPrior:
    """Places (L, 3) in odom of points, by keyframes outside a problem, and the ``information`` (L, 3, 3) on them.

    The information is squared pixels for a squared step of 1 in odom, 0 of points that no such keyframe sees.
    """

    places: Array
    information: Array

    def gradient(self, points: Array) -> Array:
        """Change (L, 3) of the cost with the points (L, 3)."""
        return np.asarray(np.einsum("lij,lj->li", self.information, points - self.places))

    def cost(self, points: Array) -> float:
        """Half of the squared errors of points (L, 3), in squared pixels."""
        return 0.5 * float(np.sum(self.gradient(points) * (points - self.places)))


@dataclass(frozen=True, eq=False)
class BundleProblem:
    """Keyframes ``camera_from_odom`` (K, 3, 3), (K, 3); points (L, 3); one observation a row (N,), by keyframe.

    Keyframes with ``is_fixed`` hold the gauge. Observations are ordered by keyframe; each (camera, point) pair may
    occur once. Rays (N, 2) are undistorted; ``pixels_per_ray`` (N,) turns their residuals into pixels.
    """

    rotations: Array
    translations: Array
    points: Array
    is_fixed: NDArray[np.bool_]
    camera_rows: NDArray[np.intp]
    point_rows: NDArray[np.intp]
    rays: Array
    pixels_per_ray: Array
    depth_prior: DepthPrior | None = None
    point_prior: PointPrior | None = None

    @cached_property
    def rows_by_camera(self) -> list[slice]:
        """The observations of each keyframe."""
        limits = np.searchsorted(self.camera_rows, np.arange(len(self.rotations) + 1)).tolist()
        return [slice(first, end) for first, end in pairwise(limits)]

    @cached_property
    def camera_points(self) -> Array:
        """Observed points (3, N) in their camera frames."""
        points = np.ascontiguousarray(self.points[self.point_rows].T)
        for rotation, translation, rows in zip(self.rotations, self.translations, self.rows_by_camera, strict=True):
            points[:, rows] = rotation @ points[:, rows] + translation[:, None]
        return points

    def residuals(self) -> Array:
        """Reprojection residuals (N, 2) in pixels; infinite behind the camera."""
        x, y, z = self.camera_points
        depth = np.where(z > MIN_DEPTH, z, np.nan)
        residuals = (np.stack([x / depth, y / depth]) - self.rays.T) * self.pixels_per_ray
        return np.asarray(np.where(np.isnan(residuals), np.inf, residuals)).T

    @property
    def centres(self) -> Array:
        """Positions (K, 3) of the keyframes."""
        return np.asarray(-np.einsum("kij,ki->kj", self.rotations, self.translations))

    def scaled(self, factor: float, origin: Array) -> BundleProblem:
        """Make everything larger by a factor about a point (3,); reprojections and expected distances stay."""

        def moved(places: Array) -> Array:
            return np.asarray(factor * (places - origin) + origin)

        depths, known = self.depth_prior, self.point_prior
        return replace(
            self,
            translations=-np.einsum("kij,kj->ki", self.rotations, moved(self.centres)),
            points=moved(self.points),
            depth_prior=depths and replace(depths, centres=moved(depths.centres)),
            point_prior=known and PointPrior(moved(known.places), known.information / factor**2),
        )

    def moved(self, camera_steps: Array, point_steps: Array) -> BundleProblem:
        """Apply left increments (K, 6), rotation first, to the keyframes and (L, 3) to the points."""
        from scipy.spatial.transform import Rotation  # takes 0.2 s, so it is imported only when needed

        turns = rotation_matrix(camera_steps[:, :3])
        turned = Rotation.from_matrix(turns @ self.rotations)  # orthonormal again, or rounding errors pile up
        return replace(
            self,
            rotations=turned.as_matrix(),
            translations=np.einsum("kij,kj->ki", turns, self.translations) + camera_steps[:, 3:],
            points=self.points + point_steps,
        )


def adjust(problem: BundleProblem, iterations: int = 12, huber_px: float = HUBER_PX) -> BundleProblem:
    """Minimise the robust (Huber) reprojection error over the free keyframes and all points."""
    equations = ReducedCameraSystem(problem)
    cost, damping = _cost(problem, huber_px), _FIRST_DAMPING
    for _ in range(iterations):
        equations.linearise(problem, huber_px)
        while True:
            candidate = problem.moved(*equations.solve(damping))
            candidate_cost = _cost(candidate, huber_px)
            if candidate_cost <= cost or damping > _LARGEST_DAMPING:
                break
            damping *= 10.0
        if not candidate_cost < cost:
            break
        gain = (cost - candidate_cost) / cost
        problem, cost, damping = candidate, candidate_cost, max(_SMALLEST_DAMPING, damping * 0.2)
        if gain < _LEAST_GAIN:
            break
    return problem


def _cost(problem: BundleProblem, huber_px: float) -> float:
    errors = np.linalg.norm(problem.residuals(), axis=1)
    cost = float(np.where(errors <= huber_px, 0.5 * errors**2, huber_px * (errors - 0.5 * huber_px)).sum())
    if problem.depth_prior is not None:
        cost += 0.5 * float(np.square(problem.depth_prior.residuals(problem.points)).sum())
    return cost if problem.point_prior is None else cost + problem.point_prior.cost(problem.points)


class ReducedCameraSystem:
    """Normal equations of a problem with the points eliminated (Schur complement); indices are built once per problem.

    Values of observations are kept by component, (..., N). Few keyframes, mostly neighbours, see a landmark:
    landmarks are grouped by the free keyframes that see them, and each group is eliminated densely.
    """

    def __init__(self, problem: BundleProblem) -> None:
        """Raises ValueError when the observations are not ordered by keyframe."""
        if np.any(np.diff(problem.camera_rows) < 0):
            raise ValueError("the observations of a bundle problem must be ordered by keyframe")
        self.free_rows = np.flatnonzero(~problem.is_fixed)
        self._num_cameras, self._point_rows = len(problem.rotations), problem.point_rows
        self._observed = [problem.rows_by_camera[row] for row in self.free_rows]
        self._sum_by_point = _indicator(problem.point_rows, len(problem.points))
        self._groups = _grouped(problem, self.free_rows)

    def linearise(self, problem: BundleProblem, huber_px: float) -> None:
        """Build the equations at the problem's present values."""
        self.pose_jacobian, self.point_jacobian, self.residuals, self.weights = _jacobians(problem, huber_px)
        point = self.point_jacobian
        self._point_hessian = self._by_point(_outer(point, point))
        self._prior_gradient = np.zeros_like(problem.points)
        if problem.depth_prior is not None:
            pull = problem.depth_prior.jacobian(problem.points)
            self._point_hessian += pull.T[:, None] * pull.T
            self._prior_gradient += pull * problem.depth_prior.residuals(problem.points)[:, None]
        if problem.point_prior is not None:
            self._point_hessian += np.moveaxis(problem.point_prior.information, 0, -1)
            self._prior_gradient += problem.point_prior.gradient(problem.points)
        pose = self.pose_jacobian
        self._own_jacobians = [pose[..., rows].transpose(1, 0, 2).reshape(6, -1) for rows in self._observed]
        self._pose_hessian = np.stack([jacobian @ jacobian.T for jacobian in self._own_jacobians], axis=2)

    def solve(self, damping: float) -> tuple[Array, Array]:
        """Step of the keyframes (K, 6) and points (L, 3) for one damping factor."""
        self.eliminate(damping)
        by_pose, by_point = self._gradients(-self.residuals)
        free_steps, point_steps = self.solve_for(by_pose, by_point - self._prior_gradient)
        camera_steps = np.zeros((self._num_cameras, 6))
        camera_steps[self.free_rows] = free_steps[0]
        return camera_steps, point_steps[0]

    def eliminate(self, damping: float = 0.0) -> None:
        """Take the points out of the equations of the keyframes: ``reduced`` (6 F, 6 F)."""
        self._factor = cholesky(damped(self._point_hessian, damping))
        self._white = forward_substitute(self._factor[..., self._point_rows], self.point_jacobian)
        self.reduced = _block_diagonal(damped(self._pose_hessian, damping))
        for group in self._groups:
            coupling = group.coupling(self.pose_jacobian, self._white)
            self.reduced[group.span, group.span] -= coupling @ coupling.T

    def solve_for(self, poses: Array, points: Array) -> tuple[Array, Array]:
        """Solve the eliminated equations for right hand sides of free keyframes (R, F, 6) and points (R, L, 3)."""
        white = forward_substitute(self._factor, points.transpose(0, 2, 1))
        coupled = np.stack([self._by_pose(_weighted_sum(self._white, one[:, self._point_rows])) for one in white])
        right = (poses - coupled).reshape(len(poses), -1)
        free = np.asarray(np.linalg.solve(self.reduced, right.T).T, dtype=np.float64).reshape(poses.shape)
        white -= np.stack([self._by_point(_by_ray(self._white, self._seen(one))) for one in free])
        return free, back_substitute(self._factor, white).transpose(0, 2, 1)

    def influence(self, poses: Array, points: Array) -> Array:
        """Pull (R, L) of each landmark's track on linear functions of the solution.

        The functions are given by their derivatives with respect to free keyframes (R, F, 6) and points (R, L, 3).
        """
        shown = self._shown(*self.solve_for(poses, points))
        return self._by_point((shown * self.residuals).sum(axis=1))

    def after_adjustment(self, changes: Array) -> Array:
        """The rest of changes (R, 2, N) of the weighted residuals after poses and points have been adjusted to them."""
        poses, points = zip(*[self._gradients(-one) for one in changes], strict=True)
        return changes + self._shown(*self.solve_for(np.concatenate(poses), np.concatenate(points)))

    def _gradients(self, values: Array) -> tuple[Array, Array]:
        """Jacobians transposed times values (2, N): by free keyframes (1, F, 6) and by points (1, L, 3)."""
        by_point = self._by_point(_by_ray(self.point_jacobian, values))
        return self._by_pose(values)[None], by_point.T[None]

    def _shown(self, free: Array, moved: Array) -> Array:
        """Changes (R, 2, N) of the weighted residuals by steps of free keyframes (R, F, 6) and points (R, L, 3)."""
        at = moved[:, self._point_rows].transpose(0, 2, 1)
        by_points = [_weighted_sum(self.point_jacobian, one) for one in at]
        return np.stack([self._seen(one) for one in free]) + by_points

    def _by_pose(self, values: Array) -> Array:
        """Pose Jacobian transposed times values (2, N), for each free keyframe (F, 6)."""
        own = self._own_jacobians
        return np.array(
            [jacobian @ values[:, rows].ravel() for jacobian, rows in zip(own, self._observed, strict=True)]
        )

    def _seen(self, free: Array) -> Array:
        """Pose Jacobian times steps of the free keyframes (F, 6): the motion in the image (2, N)."""
        moved = np.zeros_like(self.residuals)
        for rows, jacobian, step in zip(self._observed, self._own_jacobians, free, strict=True):
            moved[:, rows] = (step @ jacobian).reshape(2, -1)
        return moved

    def _by_point(self, values: Array) -> Array:
        """Sum values (..., N) over the observations of each point: (..., L)."""
        flat = values.reshape(-1, values.shape[-1])
        return np.asarray((self._sum_by_point @ flat.T).T.reshape(*values.shape[:-1], -1))


@dataclass(frozen=True, eq=False)
class _Group:
    """Observations of landmarks that the same keyframes see: their rows, keyframes from the span's first, landmarks."""

    span: slice  # of the unknowns
    rows: NDArray[np.intp]
    cameras: NDArray[np.intp]
    landmarks: NDArray[np.intp]

    def coupling(self, pose: Array, point: Array) -> Array:
        """Pose Jacobians transposed times point Jacobians, (6 C, 3 L) of the C keyframes and L landmarks."""
        pose, point = pose[..., self.rows], point[..., self.rows]
        blocks = _outer(pose, point)
        num_cameras, num_landmarks = (self.span.stop - self.span.start) // 6, int(self.landmarks.max()) + 1
        dense = np.zeros((num_cameras, 6, 3, num_landmarks))
        dense[self.cameras, :, :, self.landmarks] = blocks.transpose(2, 0, 1)
        return dense.reshape(6 * num_cameras, -1)


def _grouped(problem: BundleProblem, free_rows: NDArray[np.intp]) -> list[_Group]:
    """Group the observations of free keyframes by the first and the last keyframe that sees their landmark."""
    column_of_camera = np.full(len(problem.rotations), -1)
    column_of_camera[free_rows] = np.arange(len(free_rows))
    columns = column_of_camera[problem.camera_rows]
    movable = np.flatnonzero(columns >= 0)
    columns, points = columns[movable], problem.point_rows[movable]
    first, last = np.full(len(problem.points), len(free_rows)), np.zeros(len(problem.points), dtype=int)
    np.minimum.at(first, points, columns)
    np.maximum.at(last, points, columns)
    key = (first // _GROUPED * len(free_rows) + last // _GROUPED)[points]
    groups = []
    for value in np.unique(key):
        mine = key == value
        begin, end = int(first[points[mine]].min()), int(last[points[mine]].max()) + 1
        landmarks = np.unique(points[mine], return_inverse=True)[1]
        groups.append(_Group(slice(6 * begin, 6 * end), movable[mine], columns[mine] - begin, landmarks))
    return groups


def _jacobians(problem: BundleProblem, huber_px: float) -> tuple[Array, Array, Array, Array]:
    """Weighted Jacobians by pose (2, 6, N) and point (2, 3, N), weighted residuals (2, N), and the weights (N,)."""
    x, y, z = problem.camera_points
    valid = z > MIN_DEPTH
    inverse = 1.0 / np.where(valid, z, 1.0)
    u, v = x * inverse, y * inverse
    residuals = (np.stack([u, v]) - problem.rays.T) * problem.pixels_per_ray
    weights = np.sqrt(np.minimum(1.0, huber_px / np.maximum(np.hypot(*residuals), 1e-12))) * valid
    pose = pose_jacobian(u, v, inverse) * (weights * problem.pixels_per_ray)
    point = np.empty((2, 3, len(u)))
    for rotation, rows in zip(problem.rotations, problem.rows_by_camera, strict=True):
        point[..., rows] = rotation.T @ pose[:, 3:, rows]
    return pose, point, residuals * weights, weights


def _outer(a: Array, b: Array) -> Array:
    """Jacobians a (2, S, N) transposed times b (2, T, N), observation by observation: (S, T, N)."""
    return np.asarray(a[0, :, None] * b[0] + a[1, :, None] * b[1])


def _by_ray(jacobian: Array, values: Array) -> Array:
    """Jacobian (2, S, N) transposed times values (2, N): (S, N)."""
    return np.asarray(jacobian[0] * values[0] + jacobian[1] * values[1])


def _weighted_sum(jacobian: Array, steps: Array) -> Array:
    """Jacobian (2, 3, N) times steps (3, N): (2, N)."""
    return np.asarray(jacobian[:, 0] * steps[0] + jacobian[:, 1] * steps[1] + jacobian[:, 2] * steps[2])


def _block_diagonal(blocks: Array) -> Array:
    """Blocks (S, S, F) along the diagonal of a matrix (S F, S F)."""
    size, _, number = blocks.shape
    matrix = np.zeros((number, size, number, size))
    matrix[np.arange(number), :, np.arange(number), :] = np.moveaxis(blocks, -1, 0)
    return matrix.reshape(number * size, number * size)


def _indicator(rows: NDArray[np.intp], number: int) -> csr_matrix:
    """Sparse matrix (number, N) that sums values by row."""
    return csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(number, len(rows)))
