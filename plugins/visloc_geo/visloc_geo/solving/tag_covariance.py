"""Covariance of the photo's pose by tags whose errors neighbouring views share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from visloc_geo.solving.adjustment import tag_errors, tag_weights
from visloc_geo.solving.observations import QUERY, Observations, Scene
from visloc_ros.core.geometry import Array
from visloc_ros.core.shared_errors import HEADING_ERRORS, POSITION_ERRORS, priors_of, weights_of

_OF_PHOTO = slice(6 * QUERY, 6 * QUERY + 6)
_AXES, _HEADING = range(3), 5


def covariance_of_photo(observations: Observations, scene: Scene, covariance: Array) -> Array:
    """Covariance (6, 6) of the photo's pose, from that of all unknowns (K, K) by independent errors of the tags."""
    errors, sigmas = tag_errors(observations, scene)
    weights = tag_weights(errors, sigmas)
    stated = np.isfinite(sigmas).ravel()
    known, sigma = np.flatnonzero(stated), 1.0 / np.sqrt(weights.ravel()[stated])
    # A tag that counts as wrong has an error of its own beside the one that it shares.
    shared = sigmas.ravel()[stated] / sigma
    correlations = [
        one[np.ix_(known, known)] * np.outer(shared, shared) + np.diag(1.0 - np.square(shared))
        for one in _correlations(observations, scene.centres)
    ]
    explained = covariance[np.ix_(known, known)] / np.outer(sigma, sigma)
    priors = np.outer(priors_of(POSITION_ERRORS), priors_of(HEADING_ERRORS)).ravel()
    factors = weights_of(correlations, priors, explained, errors.ravel()[stated] / sigma)
    expected = np.einsum("c,cij->ij", factors, correlations)
    gain = covariance[_OF_PHOTO, known] / sigma
    return np.asarray(covariance[_OF_PHOTO, _OF_PHOTO] + gain @ (expected - np.eye(len(known))) @ gain.T)


def _correlations(observations: Observations, centres: Array) -> Sequence[Array]:
    """Correlations (6G, 6G) of the errors of all groups, one for each way in which tags may share them."""
    places = np.array([centres[observations.members(group)[0]] for group in range(observations.num_groups)])
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    return [
        _of_six(position.correlation(distances), heading.correlation(distances))
        for position, heading in product(POSITION_ERRORS, HEADING_ERRORS)
    ]


def _of_six(position: Array, heading: Array) -> Array:
    """Correlations (6G, 6G): the axes of the positions and the headings each by their own (G, G), tilts by none."""
    count = len(position)
    full = np.eye(6 * count).reshape(count, 6, count, 6)
    for axis in _AXES:
        full[:, axis, :, axis] = position
    full[:, _HEADING, :, _HEADING] = heading
    return full.reshape(6 * count, 6 * count)
