"""Map uncertainty: the error of the map around a pose, estimated by leave-one-out validation of its images.

The residuals of a pose show how well it fits the points of the map, not the error that these have in common: inexact
reference poses and a wrong calibration warp a map, and all that is seen from one place shares the error. How well an
image of another walk is localized is shown by images of the map that were left out with their neighbours until their
nearest view was as far away as its own (nearest neighbour distance matching, Mila et al. 2022). The error is modelled
as a random walk over the view change to the nearest image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.map import Map
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.leave_one_out import leave_one_out
from visloc_ros.localization.view_change import Viewpoints, typical_depth

_MIN_TRIALS = 20
_SHARE_WITHIN = 0.9
_SHARE_SEEN = 0.975  # that many of 40 images, to be 95 % sure of the share above: a tolerance bound (Wilks 1941)
_RATES = (1e-12, 1.0)


@dataclass(frozen=True, eq=False)
class MapUncertainty:
    """The uncertainty of a map: variances in radians squared of a viewing angle, per radian of view change.

    ``position_rate`` is of the angle by which the camera is moved, seen from its points, ``rotation_rate`` of the one
    by which it is turned. Zero where the images of the map agree as well as they claim.
    """

    position_rate: float
    rotation_rate: float
    views: Viewpoints

    def covariance(self, map_from_camera: SE3, points: Array) -> Array:
        """Covariance (6, 6), in the order of ``core.types``, that the map adds to a pose found by points (N, 3)."""
        depth = typical_depth(map_from_camera, points)
        change = float(self.views.changes(map_from_camera).min())
        return np.diag(change * np.repeat([self.position_rate * depth**2, self.rotation_rate], 3))


def measure_map_uncertainty(map_: Map, config: PoseConfig) -> MapUncertainty:
    """The least rates at which, with 95 % confidence, 90 % of the images lie in their 90 % regions.

    Zero, too, for a map with too few images to estimate it.
    """
    views = Viewpoints.of(map_.images, map_.points)
    results = list(leave_one_out(map_, views, config))
    if len(results) < _MIN_TRIALS:
        return MapUncertainty(0.0, 0.0, views)
    errors, claimed = np.array([result.error for result in results]), np.array([result.claimed for result in results])
    changes, depths = (np.array([getattr(result, name) for result in results]) for name in ("view_change", "depth"))
    position = _least_rate(errors[:, :3], claimed[:, :3, :3], changes * np.square(depths))
    return MapUncertainty(position, _least_rate(errors[:, 3:], claimed[:, 3:, 3:], changes), views)


def _least_rate(errors: Array, claimed: Array, growths: Array) -> float:
    """The rate for errors (N, 3), claimed covariances (N, 3, 3) and how variances grow at a rate of one (N,)."""

    def excess(log_rate: float) -> float:
        covariances = claimed + np.exp(log_rate) * growths[:, None, None] * np.eye(3)
        squared = np.einsum("ni,ni->n", errors, np.linalg.solve(covariances, errors[:, :, None])[:, :, 0])
        return float(np.quantile(squared, _SHARE_SEEN)) - chi_square_quantile(_SHARE_WITHIN, 3)

    least, largest = np.log(_RATES)
    if excess(least) <= 0.0:
        return 0.0
    if excess(largest) >= 0.0:
        return _RATES[1]
    from scipy.optimize import brentq  # takes 0.3 s, for which no start has to wait

    return float(np.exp(brentq(excess, least, largest, xtol=1e-3)))
