"""A position that is roughly known from elsewhere, say from satellites: where in the map to look, and where not.

It enters as a prior probability of what the image shows, by Bayes' rule, and not as one more token that a network has
learned to read: it needs no training, is right for any map and any accuracy, and costs nothing where it is absent.
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
    """Where the camera is about: ``position_in_map`` (3,), and the standard deviation along each axis, ``sigma_m``.

    (2,) are x and y alone, of a map whose z axis points up: the height is not known then. In units of the map, which
    are metres where it is metric. The standard deviation is that of the worst axis, and covers what lies between camera
    and antenna. Raises ConfigError for what is no such position.
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
        """Whether it means something only in a map whose z axis points up."""
        return len(self.position_in_map) == 2

    def sigmas(self, map_from_camera: SE3) -> float:
        """By how many standard deviations a pose is off."""
        return float(self._sigmas(map_from_camera.translation[None], np.zeros(1))[0])

    def rules_out(self, map_from_camera: SE3) -> bool:
        """Whether a pose is too far away to be right."""
        return self.sigmas(map_from_camera) > MOST_SIGMAS

    def permits(self, positions: Array, spreads: Array) -> NDArray[np.bool_]:
        """Which positions (N, 3) are near enough; ``spreads`` (N,) as for ``likelihoods``."""
        return np.asarray(self._sigmas(positions, spreads) <= MOST_SIGMAS)

    def likelihoods(self, positions: Array, spreads: Array) -> Array:
        """How well things at positions (N, 3) go with the hint, 1 for the best.

        ``spreads`` (N,) are standard deviations of the camera's own distance from the things that it sees there.
        """
        return np.asarray(np.exp(-0.5 * np.square(self._sigmas(positions, spreads))))

    def _sigmas(self, positions: Array, spreads: Array) -> Array:
        known = self.position_in_map
        distances = np.linalg.norm(positions[:, : len(known)] - known, axis=1)
        return np.asarray(distances / np.hypot(self.sigma_m, spreads))
