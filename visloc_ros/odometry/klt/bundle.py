"""Bundle adjustment in numpy: Levenberg-Marquardt on the Schur complement, every step vectorised.

Sized for a sliding window (tens of keyframes, a thousand landmarks); the work sits in BLAS and releases the
interpreter, so that it can run beside the frame path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import Array

MIN_DEPTH = 1e-6
HUBER_PX = 0.5  # about the accuracy of a tracked corner
_FIRST_DAMPING, _SMALLEST_DAMPING, _LARGEST_DAMPING = 1e-7, 1e-9, 1e6


@dataclass(frozen=True, eq=False)
class BundleProblem:
    """Keyframes ``camera_from_odom`` (K, 3, 3), (K, 3); points (L, 3); one observation a row (N,).

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
    solver = _Schur(problem)
    cost, damping = _cost(problem, huber_px), _FIRST_DAMPING
    for _ in range(iterations):
        solver.linearise(problem, huber_px)
        while True:
            candidate = problem.moved(*solver.solve(damping))
            candidate_cost = _cost(candidate, huber_px)
            if candidate_cost <= cost or damping > _LARGEST_DAMPING:
                break
            damping *= 10.0
        if not candidate_cost < cost:
            break
        gain = (cost - candidate_cost) / cost
        problem, cost, damping = candidate, candidate_cost, max(_SMALLEST_DAMPING, damping * 0.2)
        if gain < 1e-6:
            break
    return problem


def _cost(problem: BundleProblem, huber_px: float) -> float:
    errors = np.linalg.norm(problem.residuals(), axis=1)
    return float(np.where(errors <= huber_px, 0.5 * errors**2, huber_px * (errors - 0.5 * huber_px)).sum())


class _Schur:
    """Normal equations with the points eliminated; index structure is built once per problem."""

    def __init__(self, problem: BundleProblem) -> None:
        self.free_rows = np.flatnonzero(~problem.is_fixed)
        self.num_cameras, self.num_points = len(problem.rotations), len(problem.points)
        column_of_camera = np.full(self.num_cameras, -1)
        column_of_camera[self.free_rows] = np.arange(len(self.free_rows))
        self.columns = column_of_camera[problem.camera_rows]
        self.movable = np.flatnonzero(self.columns >= 0)
        self.sum_by_point = _indicator(problem.point_rows, self.num_points)
        self.sum_by_camera = _indicator(self.columns[self.movable], len(self.free_rows))

    def linearise(self, problem: BundleProblem, huber_px: float) -> None:
        """Build the blocks of the normal equations at the problem's present values."""
        pose_jacobian, point_jacobian, residuals = _jacobians(problem, huber_px)
        number, free = self.num_points, len(self.free_rows)
        self.point_hessian = (self.sum_by_point @ _outer(point_jacobian, point_jacobian)).reshape(number, 3, 3)
        self.point_gradient = self.sum_by_point @ np.einsum("nai,na->ni", point_jacobian, residuals)
        pose_jacobian, residuals = pose_jacobian[self.movable], residuals[self.movable]
        self.camera_hessian = (self.sum_by_camera @ _outer(pose_jacobian, pose_jacobian)).reshape(free, 6, 6)
        self.camera_gradient = self.sum_by_camera @ np.einsum("nai,na->ni", pose_jacobian, residuals)
        self.coupling = np.zeros((number, free, 6, 3))
        cross = _outer(pose_jacobian, point_jacobian[self.movable]).reshape(-1, 6, 3)
        self.coupling[problem.point_rows[self.movable], self.columns[self.movable]] = cross

    def solve(self, damping: float) -> tuple[Array, Array]:
        """Step of the keyframes (K, 6) and points (L, 3) for one damping factor."""
        number, size = self.num_points, 6 * len(self.free_rows)
        point_inverse = np.linalg.inv(_damped(self.point_hessian, damping))
        coupling = self.coupling.reshape(number, size, 3)
        eliminated = coupling @ point_inverse
        flat = eliminated.transpose(1, 0, 2).reshape(size, -1)
        reduced = _block_diagonal(_damped(self.camera_hessian, damping))
        reduced -= flat @ coupling.transpose(1, 0, 2).reshape(size, -1).T
        right = -self.camera_gradient.ravel() + flat @ self.point_gradient.ravel()
        free_steps = np.linalg.solve(reduced, right)
        back = self.point_gradient + np.einsum("lci,c->li", coupling, free_steps)
        camera_steps = np.zeros((self.num_cameras, 6))
        camera_steps[self.free_rows] = free_steps.reshape(-1, 6)
        return camera_steps, -np.einsum("lij,lj->li", point_inverse, back)


def _jacobians(problem: BundleProblem, huber_px: float) -> tuple[Array, Array, Array]:
    """Whitened Jacobians by pose (N, 2, 6) and point (N, 2, 3), and whitened residuals (N, 2)."""
    local = problem.camera_points()
    valid = local[:, 2] > MIN_DEPTH
    inverse = 1.0 / np.where(valid, local[:, 2], 1.0)
    u, v = local[:, 0] * inverse, local[:, 1] * inverse
    residuals = (np.column_stack([u, v]) - problem.rays) * problem.pixels_per_ray[:, None]
    weights = np.sqrt(np.minimum(1.0, huber_px / np.maximum(np.linalg.norm(residuals, axis=1), 1e-12)))
    scale = np.where(valid, weights, 0.0) * problem.pixels_per_ray
    zero = np.zeros_like(u)
    rows = [
        [-u * v, 1.0 + u * u, -v, inverse, zero, -u * inverse],
        [-1.0 - v * v, u * v, u, zero, inverse, -v * inverse],
    ]
    pose = np.ascontiguousarray(np.array(rows).transpose(2, 0, 1)) * scale[:, None, None]
    point = pose[:, :, 3:] @ problem.rotations[problem.camera_rows]
    return pose, point, residuals * np.where(valid, weights, 0.0)[:, None]


def _outer(left: Array, right: Array) -> Array:
    """Products ``left^T right`` of (N, 2, A) and (N, 2, B) as rows (N, A * B)."""
    return np.asarray((left.transpose(0, 2, 1) @ right).reshape(len(left), -1))


def _damped(blocks: Array, damping: float) -> Array:
    diagonal = np.einsum("nii->ni", blocks)
    damped = blocks.copy()
    np.einsum("nii->ni", damped)[...] += damping * diagonal + 1e-9
    return damped


def _block_diagonal(blocks: Array) -> Array:
    number, size = blocks.shape[:2]
    matrix = np.zeros((number, size, number, size))
    matrix[np.arange(number), :, np.arange(number), :] = blocks
    return matrix.reshape(number * size, number * size)


def _indicator(rows: NDArray[np.intp], number: int) -> csr_matrix:
    """Sparse matrix (number, N) that sums values by row."""
    return csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(number, len(rows)))
