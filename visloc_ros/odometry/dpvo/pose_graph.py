"""A graph of cameras joined by relative similarities, solved for scale drift as well (Lipson et al. 2024).

Variables are ``camera_from_world`` similarities, the unknown scale being that of each camera's unit of length. The
residual of an edge is ``log(b_from_a @ a_from_world @ b_from_world^-1)``, 7 numbers; all edges weigh the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, diags
from scipy.sparse.linalg import splu

from visloc_ros.core.geometry import Array
from visloc_ros.odometry.dpvo.similarities import Similarities, inverse_left_jacobians

MAX_ITERATIONS = 30
_MIN_ITERATIONS, _SETTLED_STEPS, _SETTLED_RATIO = 5, 4, 1.5
_SMALL_MEAN_SQUARE = 1e-5
_FIRST_DAMPING = 1e-6
_SIZE = 7  # of a similarity's tangent space


@dataclass(frozen=True, eq=False)
class SimilarityEdges:
    """Measured ``b_from_a`` between the cameras in rows ``a`` (E,) and ``b`` (E,)."""

    a: NDArray[np.intp]
    b: NDArray[np.intp]
    b_from_a: Similarities

    def __len__(self) -> int:
        return len(self.a)

    @staticmethod
    def between(cameras: Similarities, a: NDArray[np.intp], b: NDArray[np.intp]) -> SimilarityEdges:
        """Edges that hold the cameras ``camera_from_world`` as they now are."""
        return SimilarityEdges(a, b, cameras.take(b) @ cameras.take(a).inverse)

    @staticmethod
    def concatenate(*parts: SimilarityEdges) -> SimilarityEdges:
        """Join sets of edges."""
        return SimilarityEdges(
            np.concatenate([part.a for part in parts]),
            np.concatenate([part.b for part in parts]),
            Similarities.concatenate(*(part.b_from_a for part in parts)),
        )

    def residuals(self, cameras: Similarities) -> Array:
        """Tangent vectors (E, 7) from what the cameras say to what was measured."""
        return (self.b_from_a @ cameras.take(self.a) @ cameras.take(self.b).inverse).log()


@dataclass(frozen=True, eq=False)
class PoseGraphResult:
    """Adjusted ``camera_from_world``, and the mean squared residual before, after each step, and at the end."""

    cameras: Similarities
    mean_squares: tuple[float, ...]


def chain_edges(cameras: Similarities) -> SimilarityEdges:
    """Edges from every camera to the one before it, as odometry holds them."""
    later = np.arange(1, len(cameras))
    return SimilarityEdges.between(cameras, later, later - 1)


def optimise(cameras: Similarities, edges: SimilarityEdges, fixed: int) -> PoseGraphResult:
    """Levenberg-Marquardt over all cameras but the ``fixed`` row, which holds place, orientation and scale.

    ``cameras`` are the start. Steps that do not lower the mean squared residual are not taken.
    """
    system = _LinearisedGraph(edges, len(cameras), fixed)
    residuals = edges.residuals(cameras)
    history, damping = [_mean_square(residuals)], _FIRST_DAMPING
    for _ in range(MAX_ITERATIONS):
        candidate = Similarities.exp(system.step(residuals, damping)) @ cameras
        candidate_residuals = edges.residuals(candidate)
        if _mean_square(candidate_residuals) < history[-1]:
            cameras, residuals, damping = candidate, candidate_residuals, damping / 2.0
        else:
            damping *= 2.0
        history.append(_mean_square(residuals))
        if _has_settled(history):
            break
    return PoseGraphResult(cameras, tuple(history))


def _mean_square(residuals: Array) -> float:
    return float(np.square(residuals).mean())


def _has_settled(history: list[float]) -> bool:
    """Stop once the residual is small and hardly falls; a residual of zero has nowhere to fall."""
    if history[-1] == 0.0:
        return True
    if len(history) <= _MIN_ITERATIONS or history[-1] >= _SMALL_MEAN_SQUARE:
        return False
    return history[-1 - _SETTLED_STEPS] < _SETTLED_RATIO * history[-1]


class _LinearisedGraph:
    """J^T J and J^T r of the free cameras; cameras move by ``exp(step) @ camera``."""

    def __init__(self, edges: SimilarityEdges, num_cameras: int, fixed: int) -> None:
        self._edges, self._num_cameras = edges, num_cameras
        self._adjoints = edges.b_from_a.adjoint()
        rows = np.arange(_SIZE * len(edges)).reshape(-1, _SIZE, 1)
        ends = np.stack((edges.a, edges.b))[:, :, None, None]
        columns = _SIZE * ends + np.arange(_SIZE)
        self._rows = np.broadcast_to(rows, (2, len(edges), _SIZE, _SIZE)).ravel()
        self._columns = np.broadcast_to(columns, (2, len(edges), _SIZE, _SIZE)).ravel()
        self._is_free = np.repeat(np.arange(num_cameras) != fixed, _SIZE)

    def step(self, residuals: Array, damping: float) -> Array:
        """Tangent steps (N, 7) of all cameras, zero for the fixed one."""
        jacobian = self._jacobian(residuals)
        hessian = (jacobian.T @ jacobian).tocsc()
        damped = (hessian + damping * diags(hessian.diagonal())).tocsc()
        factors = splu(damped, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        step = np.zeros(_SIZE * self._num_cameras)
        step[self._is_free] = factors.solve(-(jacobian.T @ residuals.ravel()))
        return step.reshape(-1, _SIZE)

    def _jacobian(self, residuals: Array) -> csc_matrix:
        """Derivatives (7 E, 7 (N - 1)): the step of ``a`` acts from the left, that of ``b`` from the right."""
        by_a = inverse_left_jacobians(residuals) @ self._adjoints
        by_b = -inverse_left_jacobians(-residuals)
        values = np.stack((by_a, by_b)).ravel()
        shape = (_SIZE * len(self._edges), _SIZE * self._num_cameras)
        return csc_matrix((values, (self._rows, self._columns)), shape=shape)[:, self._is_free]
