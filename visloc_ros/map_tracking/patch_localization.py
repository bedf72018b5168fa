"""The pose of an image by patches of views found in it, and the checks that it must pass.

A patch found is a point with an uncertain depth in its own view (a seed): as certain as the map and the later
observations from other places determine it, each of which improves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import Reason
from visloc_ros.map_tracking.config import MapTrackingConfig
from visloc_ros.map_tracking.search import Targets
from visloc_ros.map_tracking.views import GreyImage, PointObservations, PosedView
from visloc_ros.tracking.pixels import Mask, Pixels, pixels_per_ray, undistort
from visloc_ros.tracking.robust_pose import PoseFit, SeenPoints, agree_with, fit_pose

FEWEST = 8  # points that a pose is fitted to
_MIN_FOUND = 0.35  # share of the searched points: with fewer, the image shows something else
_MIN_INLIER_RATIO = 0.5  # a pose that most of the found points contradict is by chance
_LARGEST_STEP = 5.0  # largest factor on a depth by one observation


@dataclass(frozen=True, eq=False)
class LocatedImage:
    """A pose with the points found for it (N,), at pixels (N, 2), and how each was weighed.

    ``missed`` (M, 2) are pixels where a point was expected, and was not, or was found elsewhere.
    """

    fit: PoseFit
    found: Targets
    pixels: Pixels
    seen: SeedObservations
    missed: Pixels

    @property
    def map_from_camera(self) -> SE3:
        """The pose."""
        return self.fit.camera_from_world.inverse

    @cached_property
    def inlier_points(self) -> Array:
        """The points (N, 3) that agree, in the map."""
        return np.asarray(self.seen.points().points[self.fit.inliers])

    def searched(self, scale: float = 1.0) -> PointObservations:
        """Where points that were searched are seen and missed, in an image ``scale`` times as large; no points."""
        shown, missed = ((one + 0.5) * scale - 0.5 for one in (self.pixels[self.fit.inliers], self.missed))
        return replace(PointObservations.none(), shown=shown.astype(np.float32), missed=missed.astype(np.float32))

    @property
    def error_px(self) -> float:
        """Median error of the points that agree."""
        return float(np.median(self.fit.errors_px[self.fit.inliers]))


def fit_to_targets(
    views: Sequence[PosedView],
    targets: Targets,
    pixels: Pixels,
    good: Mask,
    picture: GreyImage,
    guess: SE3,
    sigma_px: float,
    max_error_px: float,
    confirmed: Mask | None = None,
) -> LocatedImage | None:
    """Pose of a picture near ``map_from_camera`` from targets (N,) of views found at pixels (N, 2); None for too few.

    Those that are not ``good`` (N,) were not found. ``sigma_px`` is the standard deviation, a coordinate, of where they
    are found. The others must agree with those that are ``confirmed`` (N,), if enough of these are found.
    """
    rays, known = undistort(picture.camera, pixels)
    good = good & known
    found, pixels, rays = targets[good], pixels[good], rays[good]
    if len(found) < FEWEST:
        return None
    seen = _observations(views, found, rays, pixels_per_ray(picture.camera, rays), sigma_px)
    start = guess.inverse
    if confirmed is not None and np.count_nonzero(confirmed[good]) >= FEWEST:
        points, is_confirmed = seen.points(), confirmed[good]
        first = fit_pose(start, points[is_confirmed], max_error_px)
        agreeing, start = is_confirmed | agree_with(first, points, max_error_px), first.camera_from_world
        good[np.flatnonzero(good)[~agreeing]] = False
        found, pixels, rays = found[agreeing], pixels[agreeing], rays[agreeing]
        seen = _observations(views, found, rays, pixels_per_ray(picture.camera, rays), sigma_px)
    fit = fit_pose(start, seen.points(), max_error_px)
    missed = np.concatenate([targets.pixels[~good], found.pixels[~fit.inliers]])
    return LocatedImage(fit, found, pixels, seen, missed)


def check_pose(num_expected: int, located: LocatedImage | None, config: MapTrackingConfig) -> Reason | None:
    """The reason why a pose must be refused, or None."""
    if located is None or len(located.found) < _MIN_FOUND * num_expected:
        return Reason.FEW_MATCHES
    fit = located.fit
    if fit.num_inliers < max(config.min_inliers, _MIN_INLIER_RATIO * len(located.found)):
        return Reason.FEW_INLIERS
    return None


def _observations(
    views: Sequence[PosedView], found: Targets, rays: Array, scale: Array, sigma_px: float
) -> SeedObservations:
    """Targets as found, with their depths in their views; ``scale`` (N,) is pixels per ray."""
    centres, directions = np.empty((len(found), 3)), np.empty((len(found), 3))
    inverse_depths, sigmas = np.empty(len(found)), np.empty(len(found))
    for index, view in enumerate(views):
        mine, seeds = found.views == index, view.seeds
        rows = found.rows[mine]
        centres[mine], directions[mine] = view.map_from_camera.translation, seeds.directions[rows, 0]
        inverse_depths[mine], sigmas[mine] = seeds.inverse_depths[rows], seeds.sigmas[rows]
    return SeedObservations(rays, scale, centres, directions, inverse_depths, sigmas, sigma_px)


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
