"""Seeds found in an image: points with uncertain depths in their own views, which each observation improves.

The depth of a point in the view of its patch is as certain as the map and the later observations from other places
determine it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.tracking.robust_pose import SeenPoints

_LARGEST_STEP = 5.0  # largest factor on a depth by one observation


@dataclass(frozen=True, eq=False)
class SeedObservations:
    """Seeds found in an image: where they are seen, as rays (N, 2) with ``pixels_per_ray`` (N,), and where they lie.

    A point is ``centres + directions / inverse_depths`` (N, 3); inverse depths have standard deviations ``sigmas``
    (N,), observed pixels ``sigma_px``, a coordinate.
    """

    rays: Array
    pixels_per_ray: Array
    centres: Array
    directions: Array
    inverse_depths: Array
    sigmas: Array
    sigma_px: float

    def __len__(self) -> int:
        return len(self.rays)

    def points(self) -> SeenPoints:
        """The points (N, 3) in the map, each uncertain along its direction."""
        rays = self.directions / self.inverse_depths[:, None]
        spreads = rays * (-self.sigmas / self.inverse_depths)[:, None]
        return SeenPoints(self.centres + rays, self.rays, self.pixels_per_ray, self.sigma_px, spreads)


def learn_depths(camera_from_map: SE3, seen: SeedObservations) -> tuple[Array, Array]:
    """Inverse depths (N,) and their standard deviations (N,) after an observation: one step of a Kalman filter each."""
    residuals = seen.points().residuals_at(camera_from_map)
    along = np.zeros((2, len(seen))) if residuals.along is None else residuals.along
    information = 1.0 + np.einsum("an,an->n", along, along)
    step = -seen.sigmas * np.einsum("an,an->n", along, residuals.values) / information
    return np.maximum(seen.inverse_depths + step, seen.inverse_depths / _LARGEST_STEP), seen.sigmas / np.sqrt(
        information
    )
