"""Bundle adjustment in numpy: Levenberg-Marquardt on the Schur complement, every step vectorised.

Sized for a sliding window (tens of keyframes, thousands of landmarks); the work sits in BLAS and releases the
interpreter, so that it can run beside the frame path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import Array
from visloc_ros.odometry.klt.blocks import back_substitute, cholesky, damped, forward_substitute
from visloc_ros.tracking.robust_pose import MIN_DEPTH, pose_jacobian

HUBER_PX = 0.5  # about the accuracy of a tracked corner
_FIRST_DAMPING, _SMALLEST_DAMPING, _LARGEST_DAMPING = 1e-7, 1e-9, 1e6
_LEAST_GAIN = 1e-4  # share of the cost; what later iterations bring is far below the noise of the pixels
_GROUPED = 4  # neighbouring keyframes that count as one when landmarks are grouped by who sees them


@dataclass(frozen=True, eq=False)
class BundleProblem:
    """Keyframes ``camera_from_odom`` (K, 3, 3), (K, 3); points (L, 3); one observation a row (N,), by keyframe.

    Keyframes with ``is_fixed`` hold the gauge. Each (camera, point) pair may occur once. Rays (N, 2) are
    undistorted; ``pixels_per_ray`` (N,) turns their residuals into pixels.
    """

    rotations: Array
    translations: Array
    points: Array
    is_fixed: NDArray[np.bool_]
    camera_rows: NDArray[np.intp]
    point_rows: NDArray[np.intp]
    rays: Array
    pixels_per_ray: Array

    def camera_points(self) -> Array:
        """Observed points (N, 3) in their camera frames."""
        rotations, points = self.rotations[self.camera_rows], self.points[self.point_rows]
        return np.asarray(np.einsum("nij,nj->ni", rotations, points) + self.translations[self.camera_rows])

    def residuals(self) -> Array:
        """Reprojection residuals (N, 2) in pixels; infinite behind the camera."""
        local = self.camera_points()
        depth = np.where(local[:, 2:] > MIN_DEPTH, local[:, 2:], np.nan)
        residuals = (local[:, :2] / depth - self.rays) * self.pixels_per_ray[:, None]
        return np.asarray(np.where(np.isnan(residuals), np.inf, residuals))

    def moved(self, camera_steps: Array, point_steps: Array) -> BundleProblem:
        """Apply left increments (K, 6), rotation first, to the keyframes and (L, 3) to the points."""
        turns = Rotation.from_rotvec(camera_steps[:, :3]).as_matrix()
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
    return float(np.where(errors <= huber_px, 0.5 * errors**2, huber_px * (errors - 0.5 * huber_px)).sum())


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
        limits = np.searchsorted(problem.camera_rows, np.arange(len(problem.rotations) + 1))
        self._observed = [slice(limits[row], limits[row + 1]) for row in self.free_rows]
        self._sum_by_point = _indicator(problem.point_rows, len(problem.points))
        self._groups = _grouped(problem, self.free_rows)

    def linearise(self, problem: BundleProblem, huber_px: float) -> None:
        """Build the equations at the problem's present values."""
        self.pose_jacobian, self.point_jacobian, self.residuals = _jacobians(problem, huber_px)
        point = self.point_jacobian
        self._point_hessian = self._by_point((point[:, :, None] * point[:, None]).sum(axis=0))
        own = [self.pose_jacobian[..., rows].transpose(1, 0, 2).reshape(6, -1) for rows in self._observed]
        self._pose_hessian = np.stack([jacobian @ jacobian.T for jacobian in own], axis=2)

    def solve(self, damping: float) -> tuple[Array, Array]:
        """Step of the keyframes (K, 6) and points (L, 3) for one damping factor."""
        self.eliminate(damping)
        point_gradient = self._by_point((self.point_jacobian * self.residuals[:, None]).sum(axis=0))
        free_steps, point_steps = self.solve_for(-self._by_pose(self.residuals), -point_gradient.T)
        camera_steps = np.zeros((self._num_cameras, 6))
        camera_steps[self.free_rows] = free_steps
        return camera_steps, point_steps

    def eliminate(self, damping: float = 0.0) -> None:
        """Take the points out of the equations of the keyframes: ``reduced`` (6 F, 6 F)."""
        self._factor = cholesky(damped(self._point_hessian, damping))
        self._white = forward_substitute(self._factor[..., self._point_rows], self.point_jacobian)
        self.reduced = _block_diagonal(damped(self._pose_hessian, damping))
        for group in self._groups:
            coupling = group.coupling(self.pose_jacobian, self._white)
            self.reduced[group.span, group.span] -= coupling @ coupling.T

    def solve_for(self, poses: Array, points: Array) -> tuple[Array, Array]:
        """Solve the eliminated equations with right hand sides of free keyframes (F, 6) and points (L, 3)."""
        white = forward_substitute(self._factor, points.T[None])[0]
        told = self._by_pose((self._white * white[:, self._point_rows]).sum(axis=1))
        free: Array = np.linalg.solve(self.reduced, (poses - told).ravel()).astype(np.float64).reshape(-1, 6)
        white -= self._by_point((self._white * self._seen(free)[:, None]).sum(axis=0))
        return free, back_substitute(self._factor, white).T

    def influence(self, poses: Array, points: Array) -> Array:
        """Pull (L,) of each landmark's track on a linear function of the solution.

        The function is given by its derivatives with respect to free keyframes (F, 6) and points (L, 3).
        """
        free, moved = self.solve_for(poses, points)
        shown = self._seen(free) + np.einsum("ain,ni->an", self.point_jacobian, moved[self._point_rows])
        return self._by_point((shown * self.residuals).sum(axis=0))

    def _by_pose(self, values: Array) -> Array:
        """Pose Jacobian transposed times values (2, N), for each free keyframe (F, 6)."""
        pose = self.pose_jacobian
        return np.array([np.einsum("ain,an->i", pose[..., rows], values[:, rows]) for rows in self._observed])

    def _seen(self, free: Array) -> Array:
        """Pose Jacobian times steps of the free keyframes (F, 6): what moves in the image (2, N)."""
        moved = np.zeros_like(self.residuals)
        for rows, step in zip(self._observed, free, strict=True):
            moved[:, rows] = np.einsum("ain,i->an", self.pose_jacobian[..., rows], step)
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
        blocks = (pose[:, :, None] * point[:, None]).sum(axis=0)
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


def _jacobians(problem: BundleProblem, huber_px: float) -> tuple[Array, Array, Array]:
    """Whitened Jacobians by pose (2, 6, N) and point (2, 3, N), and whitened residuals (2, N)."""
    x, y, z = problem.camera_points().T
    valid = z > MIN_DEPTH
    inverse = 1.0 / np.where(valid, z, 1.0)
    u, v = x * inverse, y * inverse
    residuals = (np.stack([u, v]) - problem.rays.T) * problem.pixels_per_ray
    weights = np.sqrt(np.minimum(1.0, huber_px / np.maximum(np.hypot(*residuals), 1e-12))) * valid
    pose = pose_jacobian(u, v, inverse) * (weights * problem.pixels_per_ray)
    point = np.einsum("ain,nij->ajn", pose[:, 3:], problem.rotations[problem.camera_rows])
    return pose, point, residuals * weights


def _block_diagonal(blocks: Array) -> Array:
    """Blocks (S, S, F) along the diagonal of a matrix (S F, S F)."""
    size, _, number = blocks.shape
    matrix = np.zeros((number, size, number, size))
    matrix[np.arange(number), :, np.arange(number), :] = np.moveaxis(blocks, -1, 0)
    return matrix.reshape(number * size, number * size)


def _indicator(rows: NDArray[np.intp], number: int) -> csr_matrix:
    """Sparse matrix (number, N) that sums values by row."""
    return csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(number, len(rows)))
