"""A line fitted to positions that err together: how far it is off is known by its truth."""

import numpy as np
import pytest

from visloc_ros.core.shared_errors import POSITION_ERRORS, priors_of, weights_of

ALONG = np.arange(0.0, 100.0, 5.0)
DISTANCES = np.abs(ALONG[:, None] - ALONG)
LINE = np.column_stack([np.ones_like(ALONG), (ALONG - ALONG.mean()) / 50.0])
CORRELATIONS = [one.correlation(DISTANCES) for one in POSITION_ERRORS]


def fit(errors):
    """Offset and slope that errors make, their covariance by independent errors, and by those that neighbours share."""
    explained = np.linalg.inv(LINE.T @ LINE)
    gain = explained @ LINE.T
    found = gain @ errors
    factors = weights_of(CORRELATIONS, priors_of(POSITION_ERRORS), LINE @ gain, errors - LINE @ found)
    expected = sum(factor * one for factor, one in zip(factors, CORRELATIONS, strict=True))
    return found, explained, gain @ expected @ gain.T


def mean_squares(length_m, size=1.0, trials=300):
    """Mean NEES of the fit, by independent errors and by shared ones; 1 where a covariance is right."""
    rng = np.random.default_rng(3)
    root = np.linalg.cholesky(np.exp(-DISTANCES / length_m) if length_m else np.eye(len(ALONG)))
    squares = []
    for _ in range(trials):
        found, *covariances = fit(size * root @ rng.normal(size=len(ALONG)))
        squares.append([found @ np.linalg.solve(one, found) / 2.0 for one in covariances])
    return np.mean(squares, axis=0)


@pytest.mark.parametrize("length_m", [0.0, 20.0, 100.0])
def test_the_covariance_holds_for_errors_that_neighbours_share(length_m):
    independent, shared = mean_squares(length_m)
    assert 0.4 < shared < 1.6
    assert length_m == 0.0 or independent > 3.0


@pytest.mark.parametrize("length_m", [0.0, 20.0])
def test_errors_larger_than_stated_are_noticed(length_m):
    assert 0.2 < mean_squares(length_m, size=4.0)[1] < 1.5
