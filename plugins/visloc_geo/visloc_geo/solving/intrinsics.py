"""The intrinsics that a photo's points show, held against those that the photo was located with.

A wrong focal length moves the photo towards what it shows, or away from it; a wrong principal point, as that of a
cropped photo, turns it. The views hold the points where they are.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from visloc_geo.solving.adjustment import adjust, normal_equations, robust_weights
from visloc_geo.solving.observations import QUERY, Observations, Scene
from visloc_ros.core.calibration import CENTRED_SIGMA, GUESSED_FOCAL_SIGMA
from visloc_ros.core.geometry import Array
from visloc_ros.localization.camera_estimation import MAP_FOCAL_SIGMA
from visloc_ros.localization.uncertainty import design_effect

_MOST_SIGMAS = 3.0
_SHARED_ERROR = 0.1
"""Correlation of the errors of keypoints in a sixteenth of the image, by lenses that are not modelled: with it whole
photos of phones in a street pass, whose principal points seem up to a tenth of their width off, and shifted ones in
simulated streets do not."""
_LEAST_GAIN = 0.1  # of a step of the adjustment, in squared standard deviations
_NO_DAMPING = 0.0


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


def is_principal_point_contradicted(seen: Observations, scene: Scene, information: Array) -> bool:
    """Whether the points show that the photo's principal point is elsewhere than its camera says, as in a part of it.

    It is freed together with the focal length, to first order; ``scene`` and ``information`` as above.
    """
    unknown = replace(seen, focal_sigma=GUESSED_FOCAL_SIGMA)
    residuals = scene.residuals(seen)
    is_ahead = np.isfinite(residuals).all(axis=1)
    by_loss, by_noise = (
        normal_equations(unknown, scene, np.where(is_ahead, weights, 0.0), frees_principal_point=True)
        for weights in (robust_weights(residuals), information)
    )
    covariance = by_noise.covariance()
    if covariance is None:
        return False
    off_px = by_loss.step(_NO_DAMPING)[0][-2:]  # the scene has the least cost by that loss
    camera = seen.cameras[QUERY]
    of_camera = np.square(CENTRED_SIGMA * max(camera.width, camera.height)) * np.eye(2)
    together = design_effect(seen.pixels[seen.rows_of(QUERY)], camera, _SHARED_ERROR)
    return bool(off_px @ np.linalg.solve(together * covariance[-2:, -2:] + of_camera, off_px) > _MOST_SIGMAS**2)
