"""Errors that the tags of neighbouring views share: estimated from the residuals that an adjustment leaves.

A receiver's error changes slowly along the way, and a compass has one error in all photos. An adjustment that takes
tags as independent is right in the mean and too sure of it. Its covariance is therefore that of its estimate under
correlated errors (White 1980). Their correlation is the mean over Gauss-Markov processes, each weighted by its
likelihood of the residuals, which show nothing of the directions that tags alone decide (restricted likelihood,
Patterson and Thompson 1971).

All errors and residuals here are in the standard deviations that tags state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from visloc_ros.core.geometry import Array

_LENGTHS_M = (5.0, 20.0, 80.0, 320.0)  # of phones in a street up to those of a whole walk
_OWN_SHARES = (0.05, 0.3)  # of the variance: what even one tag beside the other does not share
_LARGER = 0.2  # probability that tags err more than they state
_VISIBLE = 0.05  # share of an error that remains as a residual
_CLIPPED = 3.0  # standard deviations: a single wrong tag says nothing of the others (Huber 1964)
_MEDIAN = 0.674  # of the size of a normal variable


@dataclass(frozen=True)
class SharedError:
    """How an error is shared: the part ``own`` of its variance by none, the rest by ``exp(-distance / length_m)``."""

    length_m: float
    own: float

    def shared(self, distances: Array) -> Array:
        """The shared part of the correlations of errors at distances (M, N) in metres."""
        return np.asarray((1.0 - self.own) * np.exp(-distances / self.length_m))

    def correlation(self, distances: Array) -> Array:
        """Correlations (N, N) of errors at distances (N, N) of each from each."""
        return np.asarray(self.shared(distances) + self.own * np.eye(len(distances)))


INDEPENDENT = SharedError(1.0, 1.0)
POSITION_ERRORS = (INDEPENDENT, *(SharedError(*one) for one in product(_LENGTHS_M, _OWN_SHARES)))
HEADING_ERRORS = (INDEPENDENT, *(SharedError(np.inf, own) for own in _OWN_SHARES))


def priors_of(errors: Sequence[SharedError]) -> Array:
    """Probabilities (C,) of the ways to share: independent errors, which come first, are as likely as all others."""
    return np.array([0.5, *[0.5 / (len(errors) - 1)] * (len(errors) - 1)])


def weights_of(correlations: Sequence[Array], priors: Array, explained: Array, residuals: Array) -> Array:
    """Factors (C,) whose sum of the correlations (N, N) is the expected covariance of the errors.

    ``explained`` (N, N) is the covariance that the adjustment states of the adjusted errors (N,), whose ``residuals``
    remain; ``priors`` (C,) are probabilities. Errors may be larger than tags state, which is less likely.
    """
    shares, directions = np.linalg.eigh(np.eye(len(explained)) - explained)
    is_visible = shares > _VISIBLE
    if not is_visible.any():
        return priors
    shares, directions = shares[is_visible], directions[:, is_visible]
    most = _CLIPPED * max(1.0, float(np.median(np.abs(residuals))) / _MEDIAN)
    errors = directions.T @ np.clip(residuals, -most, most) / shares
    of_pixels = np.diag((1.0 - shares) / shares)
    found = [_likelihoods(directions.T @ one @ directions + of_pixels, errors) for one in correlations]
    logs, factors = np.array([one for one, _ in found]), np.array([one for _, one in found])
    likelihoods = priors[:, None] * [1.0 - _LARGER, _LARGER] * np.exp(logs - logs.max())
    return np.asarray((likelihoods * factors).sum(axis=1) / likelihoods.sum())


def _likelihoods(covariance: Array, errors: Array) -> tuple[tuple[float, float], tuple[float, float]]:
    """Logarithms of the likelihoods of errors (M,) by a covariance (M, M) as it is, and by the best multiple of it.

    With both factors; the second likelihood is the mean over all multiples (Schwarz 1978).
    """
    root, count = np.linalg.cholesky(covariance), len(errors)
    squares = float(np.square(np.linalg.solve(root, errors)).sum())
    factor = max(1.0, squares / count)
    log = -float(np.log(np.diag(root)).sum())
    larger = log - 0.5 * (count * np.log(factor) + squares / factor + np.log(count))
    return (log - 0.5 * squares, float(larger)), (1.0, factor)
