"""Weighted least squares of many small vectors of which some are wrong, with a covariance by their scatter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visloc_ros.core.geometry import Array

_MOST_BATCHES = 10
_ITERATIONS = 20


def robust_mean(values: Sequence[Array], covariances: Sequence[Array]) -> tuple[Array, Array]:
    """Mean (K,) of values (K,) in their order of time, and its covariance (K, K), as ``robust_fit``."""
    given = np.array(values)
    designs = np.broadcast_to(np.eye(given.shape[1]), (*given.shape, given.shape[1]))
    return robust_fit(given, np.array(covariances), designs, np.median(given, axis=0))


def robust_fit(
    values: Array, covariances: Array, designs: Array, start: Array, prior: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Parameters (P,) by which ``designs (N, K, P) @ parameters`` are values (N, K), and their covariance (P, P).

    By the Cauchy loss, from a start on (iteratively reweighted, Holland and Welsch 1977). Values that follow each other
    share errors of the map: their scatter is that of a few batches of them (the sandwich of Liang and Zeger 1986).
    ``prior``: an estimate (P,) and its information (P, P).
    """
    expected, known = prior or (np.zeros(designs.shape[2]), np.zeros((designs.shape[2], designs.shape[2])))
    information, estimate = np.linalg.inv(covariances), start
    for _ in range(_ITERATIONS):
        residuals = values - designs @ estimate
        squared = np.einsum("ni,nij,nj->n", residuals, information, residuals)
        weighted = information / (1.0 + squared / values.shape[1])[:, None, None]
        projected = np.swapaxes(designs, 1, 2) @ weighted
        total = known + np.einsum("npi,niq->pq", projected, designs)
        estimate = np.linalg.solve(total, known @ expected + np.einsum("npi,ni->p", projected, values))
    pulls = np.einsum("npi,ni->np", projected, values - designs @ estimate)
    batches = np.array_split(pulls, min(_MOST_BATCHES, len(values) // 2))
    means = np.linalg.solve(total, np.stack([batch.sum(axis=0) for batch in batches], axis=1))
    scatter = means @ means.T * len(batches) / max(len(batches) - 1, 1)
    return estimate, np.asarray(np.linalg.inv(total) + scatter)
