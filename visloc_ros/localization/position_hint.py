"""A rough position from another source, such as satellites, which restricts the search in the map.

It enters as a prior probability of what the image shows, by Bayes' rule, and not as one more token of a network: so it
needs no training, is right for any map and any accuracy, and costs nothing where it is absent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, Array

MOST_SIGMAS = 4.0  # farther away is hardly ever right, even where the errors of satellites have long tails


@dataclass(frozen=True, eq=False)
class PositionHint:
    """The camera's rough position ``position_in_map`` (3,), and its standard deviation ``sigma_m`` along each axis.

    (2,) are x and y alone, without the height, of a map whose z axis points up. In units of the map, metres where it is
    metric. The standard deviation is that of the worst axis, and covers the distance between camera and antenna. Raises
    ConfigError for other values.
    """

    position_in_map: Array
    sigma_m: float

    def __post_init__(self) -> None:
        position = np.asarray(self.position_in_map, np.float64)
        if position.shape not in ((2,), (3,)) or not np.isfinite(position).all():
            raise ConfigError(f"the position of a hint must be two or three numbers, not {self.position_in_map}")
        if not (np.isfinite(self.sigma_m) and self.sigma_m > 0.0):
            raise ConfigError(f"the standard deviation of a hint must be positive, not {self.sigma_m}")
        object.__setattr__(self, "position_in_map", position)

    @property
    def needs_up(self) -> bool:
        """Whether it needs a map whose z axis points up."""
        return len(self.position_in_map) == 2

    def sigmas(self, map_from_camera: SE3) -> float:
        """Distance of a pose in standard deviations."""
        return float(self._sigmas(map_from_camera.translation[None], np.zeros(1))[0])

    def rules_out(self, map_from_camera: SE3) -> bool:
        """Whether a pose is too far away to be right."""
        return self.sigmas(map_from_camera) > MOST_SIGMAS

    def permits(self, positions: Array, spreads: Array) -> NDArray[np.bool_]:
        """Which positions (N, 3) are near enough; ``spreads`` (N,) as for ``likelihoods``."""
        return np.asarray(self._sigmas(positions, spreads) <= MOST_SIGMAS)

    def likelihoods(self, positions: Array, spreads: Array) -> Array:
        """Likelihood of points at positions (N, 3) given the hint, 1 for the best.

        ``spreads`` (N,) are standard deviations of the camera's own distance from the things that it sees there.
        """
        return np.asarray(np.exp(-0.5 * np.square(self._sigmas(positions, spreads))))

    def _sigmas(self, positions: Array, spreads: Array) -> Array:
        known = self.position_in_map
        distances = np.linalg.norm(positions[:, : len(known)] - known, axis=1)
        return np.asarray(distances / np.hypot(self.sigma_m, spreads))
