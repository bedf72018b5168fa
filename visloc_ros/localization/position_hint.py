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

_SURE_ODDS = 40.0  # of two poses: the engine takes as many risks elsewhere (AnchorConfig.max_risk)
_MOST_SIGMAS = 4.0  # farther away is hardly ever right, even where the errors of satellites have long tails


@dataclass(frozen=True, eq=False)
class PositionHint:
    """Where the camera is about: ``position_in_map`` (3,), and the standard deviation along each axis, ``sigma_m``.

    In units of the map, which are metres where it is metric. The standard deviation is that of the worst axis, and
    covers what lies between camera and antenna. Raises ConfigError for what is no such position.
    """

    position_in_map: Array
    sigma_m: float

    def __post_init__(self) -> None:
        position = np.asarray(self.position_in_map, np.float64)
        if position.shape != (3,) or not np.isfinite(position).all():
            raise ConfigError(f"the position of a hint must be three numbers, not {self.position_in_map}")
        if not (np.isfinite(self.sigma_m) and self.sigma_m > 0.0):
            raise ConfigError(f"the standard deviation of a hint must be positive, not {self.sigma_m}")
        object.__setattr__(self, "position_in_map", position)

    def rules_out(self, map_from_camera: SE3) -> bool:
        """Whether a pose is too far away to be right."""
        return not bool(self.permits(map_from_camera.translation[None], np.zeros(1))[0])

    def prefers(self, map_from_camera: SE3, map_from_other: SE3) -> bool:
        """Whether, of two poses that an image goes with, the hint tells that it is the first."""
        positions = np.stack([map_from_camera.translation, map_from_other.translation])
        one, other = self._sigmas(positions, np.zeros(2))
        return bool(np.square(other) - np.square(one) >= 2.0 * np.log(_SURE_ODDS))

    def permits(self, positions: Array, spreads: Array) -> NDArray[np.bool_]:
        """Which positions (N, 3) are near enough; ``spreads`` (N,) as for ``likelihoods``."""
        return np.asarray(self._sigmas(positions, spreads) <= _MOST_SIGMAS)

    def likelihoods(self, positions: Array, spreads: Array) -> Array:
        """How well things at positions (N, 3) go with the hint, 1 for the best.

        ``spreads`` (N,) are standard deviations of the camera's own distance from the things that it sees there.
        """
        return np.asarray(np.exp(-0.5 * np.square(self._sigmas(positions, spreads))))

    def _sigmas(self, positions: Array, spreads: Array) -> Array:
        distances = np.linalg.norm(positions - self.position_in_map, axis=1)
        return np.asarray(distances / np.hypot(self.sigma_m, spreads))
