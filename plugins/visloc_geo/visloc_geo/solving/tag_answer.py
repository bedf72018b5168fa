"""The simplest answer: where the nearest view is by its tag."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pycolmap

from visloc_geo.solving.config import SolvingConfig
from visloc_geo.solving.solution import MIN_SPREAD
from visloc_geo.solving.two_view import VerifiedView
from visloc_geo.solving.types import BestTag, GeoKind, PhotoPose
from visloc_geo.solving.view_rotation import rotation_by_views
from visloc_ros.core.geometry import Array

_MANY = 0.5  # matches, as a share of the most that any view has
_DISTANCE_M = 25.0
"""To what both see, in a street; in the simulated one, 20 m wide, half of the views lie between 13 and 26."""
HEIGHT_SIGMA_M = 2.0
"""Between a photo and a view near it: hand, tripod or the roof of a car."""


def nearest_view(views: Sequence[VerifiedView]) -> VerifiedView:
    """The view that moves least against what it sees with the photo, of those with many matches."""
    most = max(len(one.matches) for one in views)
    return min((one for one in views if len(one.matches) >= _MANY * most), key=lambda one: one.apart)


def best_tag(nearest: VerifiedView, config: SolvingConfig) -> BestTag:
    """The view's tag, and how far off the photo may be: views are that far apart, and a far one moves more."""
    tag = nearest.reference.tag
    sigma = math.hypot(distance_sigma_m(nearest.apart, config), tag.position_sigma_m)
    return BestTag(nearest.reference.name, np.asarray(tag.position), sigma, len(nearest.matches))


def distance_sigma_m(apart: float, config: SolvingConfig) -> float:
    """Standard deviation of the distance of two images along an axis, by ``VerifiedView.apart``."""
    return max(config.spacing_m, _DISTANCE_M * apart)


def pose_of_tag(
    camera: pycolmap.Camera,
    keypoints: Array,
    nearest: VerifiedView,
    views: Sequence[VerifiedView],
    config: SolvingConfig,
) -> PhotoPose | None:
    """The position of the best tag with the rotation by motions relative to views; None with too few matches."""
    inliers, best = nearest.matches[:, 0], best_tag(nearest, config)
    if len(inliers) < config.min_inliers or np.ptp(keypoints[inliers, 0]) < MIN_SPREAD * camera.width:
        return None
    tag, found = nearest.reference.tag, rotation_by_views(camera, keypoints, views)
    height = math.hypot(tag.height_sigma_m, HEIGHT_SIGMA_M)
    rotation, turns = None, np.full(3, np.nan)
    if found is not None:
        rotation, sigma = found
        headings = [one.reference.tag.heading_sigma_deg for one in views if one.reference.tag.has_heading]
        turns = np.radians(np.hypot([tag.tilt_sigma_deg, tag.tilt_sigma_deg, min(headings)], sigma))
    covariance = np.diag(np.square([best.sigma_m, best.sigma_m, height, *turns]))
    if rotation is None:
        covariance[3:], covariance[:, 3:] = np.nan, np.nan
    return PhotoPose(
        GeoKind.TAG, best.position, rotation, covariance, best, inliers, num_matches(views), (best.view,), math.nan
    )


def num_matches(views: Sequence[VerifiedView]) -> int:
    """Number of the photo's keypoints that any view matches."""
    return len(np.unique(np.concatenate([one.reference.matches[:, 0] for one in views])))
