"""Metres from a depth model: the metres in one unit of the map, and the drift of that unit.

Each keyframe gives one measurement, since the errors of a depth image are mostly common to all of its pixels. The map
is rescaled about the camera by the drift that they show: a similarity leaves every reprojection as it is, so that
depths and images do not conflict, and the unit stays that of the segment's start.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.types import OdometryScale

DepthMap = NDArray[np.float32]

_LEAST_POINTS = 12
_MAD_TO_SIGMA = 1.4826
_TUKEY = 4.685  # standard deviations from which a value has no weight (95 % efficient)
_USUAL_ERROR, _USUAL_COUNT = 0.1, 3.0  # of a depth image as a whole, before its own errors show it
_REMEMBERED = 100  # keyframes whose errors show the accuracy of the model
_UNKNOWN = 1e2  # variance of a logarithm that nothing is known of
_MOST_CORRELATED = 0.9


@dataclass(frozen=True)
class LogRatio:
    """Logarithm of metres per unit by one depth image, and its variance by the scatter of the pixels."""

    value: float
    variance: float


def compare_depths(depth_m: DepthMap, places: Array, depths: Array) -> LogRatio | None:
    """Compare a depth image (H, W), NaN or <= 0 where unknown, with landmarks; None where too few can be compared.

    ``places`` (N, 2) are x, y in the image as shares of its width and height, ``depths`` (N,) those of the landmarks
    along the optical axis. Landmarks off the depth image's truth are outliers to a biweight mean (Tukey).
    """
    height, width = depth_m.shape
    inside = np.all((places >= 0.0) & (places < 1.0), axis=1) & (depths > 0.0)
    columns, rows = (places[inside] * [width, height]).astype(int).T
    metres = depth_m[rows, columns].astype(np.float64)
    known = np.isfinite(metres) & (metres > 0.0)
    if np.count_nonzero(known) < _LEAST_POINTS:
        return None
    return _biweight_mean(np.log(metres[known] / depths[inside][known]))


def _biweight_mean(values: Array) -> LogRatio:
    centre = float(np.median(values))
    for _ in range(10):
        limit = _TUKEY * max(_MAD_TO_SIGMA * float(np.median(np.abs(values - centre))), 1e-6)
        share = np.square((values - centre) / limit)
        weights = np.where(share < 1.0, np.square(1.0 - share), 0.0)
        centre = float(weights @ values / weights.sum())
    variance = np.square(weights) @ np.square(values - centre) / np.square(weights.sum())
    return LogRatio(centre, float(variance))


class ScaleFilter:
    """Kalman filter of two logarithms: metres in a unit of the segment, and the drift of the map's unit since.

    The map's unit does a random walk, at a rate known from the window. The error of whole depth images is learned from
    their scatter, and their joint information from its correlation in time.
    """

    def __init__(self) -> None:
        self._state = np.zeros(2)
        self._covariance = np.diag([_UNKNOWN, 0.0])
        self._errors: deque[float] = deque(maxlen=_REMEMBERED)
        self._is_known = False

    def drift(self, variance: float) -> None:
        """The map's unit may have drifted: its logarithm has this much more variance, once any depth is known."""
        self._covariance[1, 1] += variance if self._is_known else 0.0

    def update(self, measured: LogRatio) -> None:
        """Take the depth image of the next keyframe."""
        seen = np.ones(2)
        error = measured.value - float(seen @ self._state)
        prior = float(seen @ self._covariance @ seen)
        gain = self._covariance @ seen / (prior + self._image_variance() + measured.variance)
        self._state = self._state + gain * error
        self._covariance = self._covariance - np.outer(gain, seen @ self._covariance)
        if self._is_known:
            self._errors.append(error)
        self._is_known = True

    def take_drift(self) -> float:
        """The factor that brings the map back to the segment's unit; the drift counts as undone."""
        factor = float(np.exp(self._state[1]))
        self._state[1] = 0.0
        return factor

    @property
    def scale(self) -> OdometryScale | None:
        """Metres per unit of the segment, with the present uncertainty of the map's unit; None before any depth."""
        if not self._is_known:
            return None
        return OdometryScale(float(np.exp(self._state[0])), float(np.sqrt(self._covariance.sum())))

    def _image_variance(self) -> float:
        """Variance of one image's error, inflated so that correlated errors can be treated as independent."""
        errors = np.array(self._errors)
        expected = _USUAL_COUNT * _USUAL_ERROR**2
        power = float(errors @ errors)
        correlation = float(errors[1:] @ errors[:-1]) / (power + expected)
        correlation = min(max(correlation, 0.0), _MOST_CORRELATED)
        return (power + expected) / (len(errors) + _USUAL_COUNT) * (1.0 + correlation) / (1.0 - correlation)
