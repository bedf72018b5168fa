"""The story of locating a photo by its matches with geotagged views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pycolmap

from visloc_geo.common_error import CommonError
from visloc_geo.solving.config import SolvingConfig
from visloc_geo.solving.headings import with_right_headings
from visloc_geo.solving.prior import with_prior
from visloc_geo.solving.solution import Solution, solve
from visloc_geo.solving.tag_answer import best_tag, nearest_view, num_matches, pose_of_tag
from visloc_geo.solving.two_view import VerifiedView, verify
from visloc_geo.solving.types import (
    FOCAL_LENGTH_RATIO,
    BestTag,
    GeoKind,
    GeoReason,
    GeoRejection,
    PhotoPose,
    Reference,
    Tag,
)
from visloc_geo.solving.view_rotation import agreeing_views
from visloc_ros.core.calibration import GUESSED_FOCAL_SIGMA
from visloc_ros.core.camera import with_focal_length
from visloc_ros.core.geometry import Array
from visloc_ros.core.plausibility import covariance_fault

_FAR_OFF = 0.05
"""Of the logarithm of a focal length: at the edge of a photo of 640 pixels more than the 8 that agree with a pose."""


def locate(
    camera: pycolmap.Camera,
    keypoints: Array,
    references: Sequence[Reference],
    config: SolvingConfig | None = None,
    prior: Tag | None = None,
    focal_sigma: float = 0.0,
    common: CommonError | None = None,
) -> PhotoPose | GeoRejection:
    """Find the pose of a photo with keypoints (N, 2) in pixels of its camera.

    ``prior`` is where its own metadata place it; what contradicts the views is not used. ``focal_sigma`` is the
    relative standard deviation of the camera's focal length, which is estimated as well where it is not 0. ``common``
    is the error that all tags share.
    """
    rest = references, config or SolvingConfig(), prior
    found = _sure(_locate(camera, keypoints, *rest, focal_sigma, common))
    if isinstance(found, GeoRejection):
        log_focal, focal_sigma = math.log(found.counts.get(FOCAL_LENGTH_RATIO, 1.0)), GUESSED_FOCAL_SIGMA
    else:
        log_focal = found.log_focal if abs(found.log_focal) > _FAR_OFF else 0.0
    if not log_focal:
        return found
    # Matches were judged by a focal length that was far off.
    better = with_focal_length(camera, camera.mean_focal_length() * math.exp(log_focal))
    again = _sure(_locate(better, keypoints, *rest, focal_sigma, common))
    if isinstance(again, GeoRejection) or again.kind is GeoKind.TAG:
        return found
    return replace(again, log_focal=log_focal + again.log_focal)


def _locate(
    camera: pycolmap.Camera,
    keypoints: Array,
    references: Sequence[Reference],
    config: SolvingConfig,
    prior: Tag | None,
    focal_sigma: float,
    common: CommonError | None,
) -> PhotoPose | GeoRejection:
    """The pose of a photo with this camera, whose focal length is about right."""
    if not references:
        return GeoRejection(GeoReason.NO_REFERENCES)
    # Matches that agree with one motion of the camera, whatever the tags say.
    verified = verify(camera, keypoints, references, config)
    if not verified:
        most = max(len(one.matches) for one in references)
        return GeoRejection(GeoReason.FEW_MATCHES, {"references": float(len(references)), "most_matches": float(most)})
    # Headings that the views' motions and positions contradict say nothing.
    verified = with_right_headings(camera, keypoints, verified, config)
    # Of these, the views that agree on the photo's rotation.
    views = agreeing_views(camera, keypoints, verified)
    nearest = nearest_view(views)
    best = best_tag(nearest, config)
    # Points seen from several places, tags and the photo's pose together.
    solved = solve(camera, keypoints, views, config, prior, focal_sigma)
    # Never less certain than the best tag alone.
    by_tag = pose_of_tag(camera, keypoints, nearest, verified, config)
    if isinstance(solved, Solution):
        pose = _pose_of(solved, views, best)
        chosen = pose if by_tag is None or pose.horizontal_sigma_m <= by_tag.horizontal_sigma_m else by_tag
        return _completed(chosen, verified, common, prior)
    if by_tag is None or solved.reason in (GeoReason.TAGS_CONTRADICT, GeoReason.INTRINSICS_MISMATCH):
        return GeoRejection(solved.reason, solved.counts, best)
    return _completed(by_tag, verified, common, prior)


def _completed(
    pose: PhotoPose, views: Sequence[VerifiedView], common: CommonError | None, prior: Tag | None
) -> PhotoPose:
    """The pose with the error that all tags share, and what the photo's own metadata say."""
    tags = ((one.reference.name, one.reference.tag) for one in views)
    wrong = tuple(name for name, tag in tags if tag.rotation is not None and not tag.has_heading)
    covariance = pose.covariance if common is None else pose.covariance + common.at(pose.position)
    return with_prior(replace(pose, covariance=covariance, wrong_headings=wrong), prior)


def _sure(found: PhotoPose | GeoRejection) -> PhotoPose | GeoRejection:
    """The same; NO_REGULAR_SOLUTION for a pose whose covariance is invalid."""
    if isinstance(found, GeoRejection):
        return found
    known = 6 if found.rotation is not None else 3
    if covariance_fault(found.covariance[:known, :known], known) is None:
        return found
    return GeoRejection(GeoReason.NO_REGULAR_SOLUTION, {"inliers": float(len(found.inliers))}, found.best_tag)


def _pose_of(solved: Solution, views: Sequence[VerifiedView], best: BestTag) -> PhotoPose:
    return PhotoPose(
        GeoKind.SOLVED,
        solved.enu_from_camera.translation,
        solved.enu_from_camera.rotation,
        solved.covariance,
        best,
        solved.inliers,
        num_matches(views),
        solved.references,
        solved.error_px,
        solved.tag_error_ratio,
        solved.log_focal,
        solved.focal_sigma,
        views=solved.views,
        view_sigma_m=solved.view_sigma_m,
    )
