"""The story of locating a photo by its matches with geotagged views."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pycolmap

from visloc_ros.core.geometry import Array
from visloc_ros.geo.solving.config import SolvingConfig
from visloc_ros.geo.solving.prior import with_prior
from visloc_ros.geo.solving.solution import MIN_SPREAD, Solution, solve
from visloc_ros.geo.solving.two_view import VerifiedView, verify
from visloc_ros.geo.solving.types import BestTag, GeoKind, GeoPose, GeoReason, GeoRejection, Reference, Tag
from visloc_ros.geo.solving.view_rotation import rotation_by_views

_HEIGHT_SIGMA_M = 2.0
"""Between a photo and a view near it: hand, tripod or the roof of a car."""


def locate(
    camera: pycolmap.Camera,
    keypoints: Array,
    references: Sequence[Reference],
    config: SolvingConfig | None = None,
    prior: Tag | None = None,
) -> GeoPose | GeoRejection:
    """Find the pose of a photo with keypoints (N, 2) in pixels of its camera.

    ``prior`` is where its own metadata place it; what contradicts the views is not used.
    """
    config = config or SolvingConfig()
    if not references:
        return GeoRejection(GeoReason.NO_REFERENCES)
    # Matches that agree with one motion of the camera, whatever the tags say.
    views = verify(camera, keypoints, references, config)
    if not views:
        most = max(len(one.matches) for one in references)
        return GeoRejection(GeoReason.FEW_MATCHES, {"references": float(len(references)), "most_matches": float(most)})
    best = _best_tag(views[0], config)
    # Points seen from several places, tags and the photo's pose together.
    solved = solve(camera, keypoints, views, config, prior)
    # Never less certain than the best tag alone.
    by_tag = _pose_of_tag(camera, keypoints, views, best, config)
    if isinstance(solved, Solution):
        pose = _pose_of(solved, views, best)
        chosen = pose if by_tag is None or pose.horizontal_sigma_m <= by_tag.horizontal_sigma_m else by_tag
        return with_prior(chosen, prior)
    if by_tag is None or solved.reason is GeoReason.TAGS_CONTRADICT:
        return GeoRejection(solved.reason, solved.counts, best)
    return with_prior(by_tag, prior)


def _best_tag(view: VerifiedView, config: SolvingConfig) -> BestTag:
    tag = view.reference.tag
    sigma = math.hypot(config.spacing_m, tag.position_sigma_m)
    return BestTag(view.reference.name, np.asarray(tag.position), sigma, len(view.matches))


def _pose_of(solved: Solution, views: Sequence[VerifiedView], best: BestTag) -> GeoPose:
    return GeoPose(
        GeoKind.SOLVED,
        solved.enu_from_camera.translation,
        solved.enu_from_camera.rotation,
        solved.covariance,
        best,
        solved.inliers,
        _num_matches(views),
        solved.references,
        solved.error_px,
        solved.tag_error_ratio,
    )


def _num_matches(views: Sequence[VerifiedView]) -> int:
    return len(np.unique(np.concatenate([one.reference.matches[:, 0] for one in views])))


def _pose_of_tag(
    camera: pycolmap.Camera, keypoints: Array, views: Sequence[VerifiedView], best: BestTag, config: SolvingConfig
) -> GeoPose | None:
    """The position of the best tag with the rotation by essential matrices; None with too few matches."""
    inliers = views[0].matches[:, 0]
    if len(inliers) < config.min_inliers or np.ptp(keypoints[inliers, 0]) < MIN_SPREAD * camera.width:
        return None
    tag, found = views[0].reference.tag, rotation_by_views(camera, keypoints, views)
    height = math.hypot(tag.height_sigma_m, _HEIGHT_SIGMA_M)
    rotation, turns = None, np.full(3, np.nan)
    if found is not None:
        rotation, sigma = found
        turns = np.radians(np.hypot([tag.tilt_sigma_deg, tag.tilt_sigma_deg, tag.heading_sigma_deg], sigma))
    covariance = np.diag(np.square([best.sigma_m, best.sigma_m, height, *turns]))
    if rotation is None:
        covariance[3:], covariance[:, 3:] = np.nan, np.nan
    return GeoPose(
        GeoKind.TAG, best.position, rotation, covariance, best, inliers, _num_matches(views), (best.view,), math.nan
    )
