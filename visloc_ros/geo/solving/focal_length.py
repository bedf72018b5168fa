"""The focal length that a photo's points show, held against the one that the photo was located with.

A wrong one moves the photo towards what it shows, or away from it, and the views hold the points where they are.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from visloc_ros.core.calibration import GUESSED_FOCAL_SIGMA
from visloc_ros.core.geometry import Array
from visloc_ros.geo.solving.adjustment import adjust, normal_equations
from visloc_ros.geo.solving.observations import Observations, Scene
from visloc_ros.localization.camera_estimation import MAP_FOCAL_SIGMA

_MOST_SIGMAS = 3.0
_LEAST_GAIN = 0.1  # of a step of the adjustment, in squared standard deviations


def contradicting_focal_length(seen: Observations, scene: Scene, information: Array) -> float | None:
    """The logarithm of the focal length that the points show, divided by the photo's; None where they may agree.

    ``scene`` is adjusted with the photo's focal length, ``information`` (O,) is that of the observations in 1/px^2.
    """
    unknown = replace(seen, focal_sigma=GUESSED_FOCAL_SIGMA)
    freed = adjust(unknown, scene, _LEAST_GAIN)
    is_ahead = np.isfinite(freed.residuals(unknown)).all(axis=1)
    covariance = normal_equations(unknown, freed, np.where(is_ahead, information, 0.0)).covariance()
    if covariance is None:
        return None
    sigma = math.hypot(math.sqrt(max(covariance[-1, -1], 0.0)), MAP_FOCAL_SIGMA, seen.focal_sigma)
    return freed.log_focal if abs(freed.log_focal) > _MOST_SIGMAS * sigma else None
