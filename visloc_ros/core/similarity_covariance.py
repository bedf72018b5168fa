"""The covariance of a similarity that places a reconstruction by positions whose errors neighbours may share."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.core.shared_errors import POSITION_ERRORS, priors_of, weights_of
from visloc_ros.core.tangent import similarity_lever_jacobian

_MOST_COMPARED = 100  # positions that show how errors are shared; more say little more of it
_MOST_AT_ONCE = 500
_SINGULAR = 1e-12  # information on what neither positions nor up determine


def similarity_covariance(placed: Array, positions: Array, sigmas: Array, up_sigma_rad: float) -> Array:
    """Covariance (7, 7) (``core.tangent``) of a similarity about the mean of ``placed``.

    It moved places to ``placed`` (N, 3), as near as it can to ``positions`` (N, 3) of standard deviations ``sigmas``
    (N, 3), and level within ``up_sigma_rad`` (infinite: not known).
    """
    centre = placed.mean(axis=0)
    of_level = np.eye(7)[3:5] / up_sigma_rad
    prior = of_level.T @ of_level + _SINGULAR * np.eye(7)
    jacobian = np.array([similarity_lever_jacobian(one - centre)[:3] for one in placed]) / sigmas[:, :, None]
    residuals = (placed - positions) / sigmas
    factors = _factors(placed, jacobian, residuals, prior)
    flat = jacobian.reshape(-1, 7)
    covariance = np.linalg.inv(flat.T @ flat + prior)
    gain = np.einsum("ij,nkj->nik", covariance, jacobian)
    own = sum(factor * error.own for factor, error in zip(factors, POSITION_ERRORS, strict=True))
    found = covariance @ prior @ covariance + np.einsum("nik,k,njk->ij", gain, own, gain)
    for first in range(0, len(placed), _MOST_AT_ONCE):
        rows = slice(first, first + _MOST_AT_ONCE)
        distances = np.linalg.norm(placed[rows, None] - placed, axis=2)
        shared = np.stack([error.shared(distances) for error in POSITION_ERRORS])
        found += np.einsum("nik,ck,cnm,mjk->ij", gain[rows], factors, shared, gain, optimize=True)
    return np.asarray((found + found.T) / 2.0)


def _factors(placed: Array, jacobian: Array, residuals: Array, prior: Array) -> Array:
    """Factors (C, 3) of the ways in which positions share errors, by the residuals of some of them along each axis.

    Each axis has its own: a receiver that is off to one side half of the time errs along that axis alone.
    """
    rows = np.linspace(0, len(placed) - 1, min(len(placed), _MOST_COMPARED)).round().astype(int)
    chosen = jacobian[rows].reshape(-1, 7)
    explained = chosen @ np.linalg.solve(chosen.T @ chosen + prior, chosen.T)
    explained = explained.reshape(len(rows), 3, len(rows), 3)
    distances = np.linalg.norm(placed[rows, None] - placed[rows], axis=2)
    correlations, priors = [error.correlation(distances) for error in POSITION_ERRORS], priors_of(POSITION_ERRORS)
    return np.stack(
        [weights_of(correlations, priors, explained[:, axis, :, axis], residuals[rows, axis]) for axis in range(3)],
        axis=1,
    )
