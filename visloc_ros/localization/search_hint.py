"""What is known beside the image about the camera's place: a position, a heading, a text that the robot has read.

Position and heading enter as a prior probability of what the image shows, by Bayes' rule, and not as one more token of
a network: so they need no training, are right for any map and any accuracy, and cost nothing where they are absent. A
heading distinguishes the two ends of a symmetrical room, which no position with the errors of satellites does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import is_plausible_sigma
from visloc_ros.localization.view_change import Viewpoints

_MOST_SIGMAS = 4.0  # farther away is hardly ever right, even where the errors of satellites have long tails
_LEAST_LEVEL = 0.2  # of the optical axis: a camera that looks more steeply up or down has hardly a heading
_VIEW_TURN = np.pi / 2  # a camera that is turned by more shares no view
_VIEW_SPREAD = _VIEW_TURN / 2  # standard deviation of the angle between cameras that see the same


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
        if not is_plausible_sigma(self.sigma_m):
            raise ConfigError(f"the standard deviation of a hint must be positive and plausible, not {self.sigma_m:g}")
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
        return self.sigmas(map_from_camera) > _MOST_SIGMAS

    def permits(self, positions: Array, spreads: Array) -> NDArray[np.bool_]:
        """Which positions (N, 3) are near enough; ``spreads`` (N,) as for ``likelihoods``."""
        return np.asarray(self._sigmas(positions, spreads) <= _MOST_SIGMAS)

    def likelihoods(self, positions: Array, spreads: Array) -> Array:
        """Likelihood of points at positions (N, 3) given the hint, 1 for the best.

        ``spreads`` (N,) are standard deviations of the camera's own distance from the things that it sees there.
        """
        return np.asarray(np.exp(-0.5 * np.square(self._sigmas(positions, spreads))))

    def _sigmas(self, positions: Array, spreads: Array) -> Array:
        known = self.position_in_map
        distances = np.linalg.norm(positions[:, : len(known)] - known, axis=1)
        return np.asarray(distances / np.hypot(self.sigma_m, spreads))


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
        if not is_plausible_sigma(self.sigma_rad):
            raise ConfigError(
                f"the standard deviation of a heading must be positive and plausible, not {self.sigma_rad:g}"
            )

    def sigmas(self, map_from_camera: SE3) -> float:
        """Deviation of a pose's heading in standard deviations; 0 where it has hardly a heading."""
        axis = map_from_camera.rotation[:, 2]
        return float(self._turns(axis[None])[0]) / self.sigma_rad

    def rules_out(self, map_from_camera: SE3) -> bool:
        """Whether a pose is turned too far away to be right."""
        return self.sigmas(map_from_camera) > _MOST_SIGMAS

    def permits_views(self, axes: Array) -> NDArray[np.bool_]:
        """Which views, by their optical axes (N, 3) in the map, may show something of what the camera sees."""
        return np.asarray(self._turns(axes) <= _MOST_SIGMAS * self.sigma_rad + _VIEW_TURN)

    def likelihoods(self, axes: Array) -> Array:
        """Likelihood of views along optical axes (N, 3) given the hint, 1 for the best."""
        return np.asarray(np.exp(-0.5 * np.square(self._turns(axes) / np.hypot(self.sigma_rad, _VIEW_SPREAD))))

    def _turns(self, axes: Array) -> Array:
        """Angles (N,) between 0 and pi from the heading to that of optical axes (N, 3)."""
        turns = np.arctan2(axes[:, 1], axes[:, 0]) - self.heading_rad
        is_level = np.hypot(axes[:, 0], axes[:, 1]) >= _LEAST_LEVEL
        return np.where(is_level, np.abs(np.arctan2(np.sin(turns), np.cos(turns))), 0.0)


@dataclass(frozen=True, eq=False)
class SearchHint:
    """What is known beside an image; each part may be missing.

    ``position`` and ``heading`` are of the camera, in the map that is searched. ``text`` (E,) is an embedding of the
    text written there, of any norm but zero, which is normalised to 1; only recognisers that were trained with
    embeddings of the same model use it. Raises ConfigError for what is no embedding.
    """

    position: PositionHint | None = None
    heading: HeadingHint | None = None
    text: Array | None = None

    def __post_init__(self) -> None:
        if self.text is not None:
            object.__setattr__(self, "text", unit_embedding(self.text, "the text of a hint"))

    @property
    def needs_up(self) -> bool:
        """Whether it needs a map whose z axis points up."""
        return self.heading is not None or (self.position is not None and self.position.needs_up)

    def rules_out(self, map_from_camera: SE3) -> bool:
        """Whether a pose is too far from the position, or turned too far from the heading, to be right."""
        return any(one is not None and one.rules_out(map_from_camera) for one in (self.position, self.heading))

    def permits_views(self, views: Viewpoints) -> NDArray[np.bool_]:
        """Which views (M,) may show the same, by position and heading. Raises ConfigError for a text."""
        if self.text is not None:
            raise ConfigError(
                "this search does not know what a text says: leave the text out, or use a search that learns texts"
            )
        return self._within_reach(views)

    def excludes_all(self, views: Viewpoints) -> bool:
        """Whether none of the views shows the same, by position and heading."""
        return not self._within_reach(views).any()

    def _within_reach(self, views: Viewpoints) -> NDArray[np.bool_]:
        permitted = np.ones(len(views.centres), bool)
        if self.position is not None:
            permitted &= self.position.permits(views.centres, views.depths)
        if self.heading is not None:
            permitted &= self.heading.permits_views(views.axes)
        return permitted

    def log_odds(self, map_from_camera: SE3, map_from_other: SE3) -> float:
        """Natural logarithm of how much more probable position and heading make the first of two poses."""
        known = [one for one in (self.position, self.heading) if one is not None]
        return sum(0.5 * (one.sigmas(map_from_other) ** 2 - one.sigmas(map_from_camera) ** 2) for one in known)


def unit_embedding(values: Array, name: str) -> Array:
    """An embedding (E,) of length 1. Raises ConfigError that says what ``name`` must be."""
    vector = np.asarray(values, np.float64)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 else 0.0
    if not (np.isfinite(length) and length > 0.0):
        raise ConfigError(f"{name} must be one row of numbers, not all zero: the embedding of what is written")
    return vector / length
