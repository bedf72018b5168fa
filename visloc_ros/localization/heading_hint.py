"""A rough heading from another source, such as a magnetometer.

Like a position (``position_hint.py``) it enters by Bayes' rule. It distinguishes the two ends of a symmetrical room,
which no position with the errors of satellites does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.localization.position_hint import MOST_SIGMAS

_LEAST_LEVEL = 0.2  # of the optical axis: a camera that looks more steeply up or down has hardly a heading
_VIEW_TURN = np.pi / 2  # a camera that is turned by more shares no view
_VIEW_SPREAD = _VIEW_TURN / 2  # standard deviation of the angle between cameras that see the same


@dataclass(frozen=True)
class HeadingHint:
    """The approximate heading of the camera's optical axis, ``heading_rad``, with its standard deviation ``sigma_rad``.

    The angle is about the map's z axis, which must point up, from its x axis anticlockwise as seen from above (REP
    103): in a map with axes east, north, up it is 0 in the east and pi/2 in the north. Raises ConfigError for
    other values.
    """

    heading_rad: float
    sigma_rad: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.heading_rad):
            raise ConfigError(f"the heading of a hint must be a number, not {self.heading_rad}")
        if not (np.isfinite(self.sigma_rad) and self.sigma_rad > 0.0):
            raise ConfigError(f"the standard deviation of a heading must be positive, not {self.sigma_rad}")

    def sigmas(self, map_from_camera: SE3) -> float:
        """Deviation of a pose's heading in standard deviations; 0 where it has hardly a heading."""
        axis = map_from_camera.rotation[:, 2]
        return float(self._turns(axis[None])[0]) / self.sigma_rad

    def rules_out(self, map_from_camera: SE3) -> bool:
        """Whether a pose is turned too far away to be right."""
        return self.sigmas(map_from_camera) > MOST_SIGMAS

    def permits_views(self, axes: Array) -> NDArray[np.bool_]:
        """Which views, by their optical axes (N, 3) in the map, may show something of what the camera sees."""
        return np.asarray(self._turns(axes) <= MOST_SIGMAS * self.sigma_rad + _VIEW_TURN)

    def likelihoods(self, axes: Array) -> Array:
        """Likelihood of views along optical axes (N, 3) given the hint, 1 for the best."""
        return np.asarray(np.exp(-0.5 * np.square(self._turns(axes) / np.hypot(self.sigma_rad, _VIEW_SPREAD))))

    def _turns(self, axes: Array) -> Array:
        """Angles (N,) between 0 and pi from the heading to that of optical axes (N, 3)."""
        turns = np.arctan2(axes[:, 1], axes[:, 0]) - self.heading_rad
        is_level = np.hypot(axes[:, 0], axes[:, 1]) >= _LEAST_LEVEL
        return np.where(is_level, np.abs(np.arctan2(np.sin(turns), np.cos(turns))), 0.0)
