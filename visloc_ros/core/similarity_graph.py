"""Graphs of similarities: frames joined by measured relative similarities, and the steps that lessen the residuals.

Variables are ``node_from_map`` similarities; the residual of an edge is ``log(b_from_a @ a_from_map @ map_from_b)``, 7
numbers in the order of ``Similarities.log`` (Strasdat, Montiel and Davison, RSS 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, diags
from scipy.sparse.linalg import splu

from visloc_ros.core.geometry import Array
from visloc_ros.core.similarities import Similarities, inverse_left_jacobians

_SIZE = 7  # of a similarity's tangent space


@dataclass(frozen=True, eq=False)
class SimilarityEdges:
    """Measured ``b_from_a`` between the nodes in rows ``a`` (E,) and ``b`` (E,)."""

    a: NDArray[np.intp]
    b: NDArray[np.intp]
    b_from_a: Similarities

    def __len__(self) -> int:
        return len(self.a)

    @staticmethod
    def between(nodes: Similarities, a: NDArray[np.intp], b: NDArray[np.intp]) -> SimilarityEdges:
        """Edges that hold the nodes ``node_from_map`` as they now are."""
        return SimilarityEdges(a, b, nodes.take(b) @ nodes.take(a).inverse)

    @staticmethod
    def concatenate(*parts: SimilarityEdges) -> SimilarityEdges:
        """Join sets of edges."""
        return SimilarityEdges(
            np.concatenate([part.a for part in parts]),
            np.concatenate([part.b for part in parts]),
            Similarities.concatenate(*(part.b_from_a for part in parts)),
        )

    def residuals(self, nodes: Similarities) -> Array:
        """Tangent vectors (E, 7) from what the nodes say to what was measured."""
        return (self.b_from_a @ nodes.take(self.a) @ nodes.take(self.b).inverse).log()


class LinearisedGraph:
    """Gauss-Newton steps of the nodes, all but the ``fixed`` row; nodes move by ``exp(step) @ node``."""

    def __init__(self, edges: SimilarityEdges, num_nodes: int, fixed: int) -> None:
        self._edges, self._num_nodes = edges, num_nodes
        self._adjoints = edges.b_from_a.adjoint()
        rows = np.arange(_SIZE * len(edges)).reshape(-1, _SIZE, 1)
        ends = np.stack((edges.a, edges.b))[:, :, None, None]
        columns = _SIZE * ends + np.arange(_SIZE)
        self._rows = np.broadcast_to(rows, (2, len(edges), _SIZE, _SIZE)).ravel()
        self._columns = np.broadcast_to(columns, (2, len(edges), _SIZE, _SIZE)).ravel()
        self._is_free = np.repeat(np.arange(num_nodes) != fixed, _SIZE)

    def step(self, residuals: Array, damping: float, roots: Array | None = None) -> Array:
        """Tangent steps (N, 7) of all nodes, zero for the fixed one, at residuals (E, 7).

        ``roots`` (E, 7, 7) multiply the residuals: roots of the edges' information. The information of the nodes is
        damped by this share of its diagonal (Levenberg-Marquardt).
        """
        jacobian, weighted = self._weighted(residuals, roots)
        information = (jacobian.T @ jacobian).tocsc()
        damped = (information + damping * diags(information.diagonal())).tocsc()
        factors = splu(damped, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        step = np.zeros(_SIZE * self._num_nodes)
        step[self._is_free] = factors.solve(-(jacobian.T @ weighted.ravel()))
        return step.reshape(-1, _SIZE)

    def _weighted(self, residuals: Array, roots: Array | None) -> tuple[csc_matrix, Array]:
        """Derivatives (7 E, 7 (N - 1)), the step of ``a`` acting from the left, that of ``b`` from the right."""
        by_a = inverse_left_jacobians(residuals) @ self._adjoints
        by_b = -inverse_left_jacobians(-residuals)
        if roots is not None:
            by_a, by_b, residuals = roots @ by_a, roots @ by_b, np.einsum("nij,nj->ni", roots, residuals)
        shape = (_SIZE * len(self._edges), _SIZE * self._num_nodes)
        values = np.stack((by_a, by_b)).ravel()
        return csc_matrix((values, (self._rows, self._columns)), shape=shape)[:, self._is_free], residuals
