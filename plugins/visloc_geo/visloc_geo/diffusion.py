"""Re-ranking of an answer by diffusion over its graph of neighbours (Zhang et al. 2020, arXiv 2012.07620)."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array

_ROUNDS = 2


def diffused_scores(similarity: Array, num_neighbours: int, num_propagated: int) -> Array:
    """How alike (N,) the first item and each other one are by the neighbours that they share.

    ``similarity`` (N + 1, N + 1) is symmetric, ones on its diagonal. An item is described by which ``num_neighbours``
    items are most similar to it, itself included; twice each one takes over the descriptions of its ``num_propagated``
    nearest, weighted by the square of their similarity. With one of them nothing is taken over.
    """
    count = len(similarity)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : min(num_neighbours, count)]
    adjacency = np.zeros_like(similarity, dtype=np.float64)
    np.put_along_axis(adjacency, order, 1.0, axis=1)
    nearest = order[:, :num_propagated]
    weights = np.square(np.take_along_axis(similarity, nearest, axis=1))
    propagation = np.zeros_like(adjacency)
    np.put_along_axis(propagation, nearest, weights, axis=1)
    for _ in range(_ROUNDS if num_propagated > 1 else 0):
        adjacency = propagation @ (adjacency + adjacency.T)
        adjacency /= np.maximum(np.linalg.norm(adjacency, axis=1, keepdims=True), 1e-12)
    return np.asarray(adjacency[1:] @ adjacency[0])
