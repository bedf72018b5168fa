"""The story of locating a photo by its matches with geotagged views."""

from __future__ import annotations

from collections.abc import Sequence

import pycolmap

from visloc_ros.core.geometry import Array
from visloc_ros.geo.solving.config import SolvingConfig
from visloc_ros.geo.solving.prior import with_prior
from visloc_ros.geo.solving.solution import Solution, solve
from visloc_ros.geo.solving.tag_answer import best_tag, nearest_view, num_matches, pose_of_tag
from visloc_ros.geo.solving.two_view import VerifiedView, verify
from visloc_ros.geo.solving.types import BestTag, GeoKind, GeoReason, GeoRejection, PhotoPose, Reference, Tag
from visloc_ros.geo.solving.view_rotation import agreeing_views


def locate(
    camera: pycolmap.Camera,
    keypoints: Array,
    references: Sequence[Reference],
    config: SolvingConfig | None = None,
    prior: Tag | None = None,
) -> PhotoPose | GeoRejection:
    """Find the pose of a photo with keypoints (N, 2) in pixels of its camera.

    ``prior`` is where its own metadata place it; what contradicts the views is not used.
    """
    config = config or SolvingConfig()
    if not references:
        return GeoRejection(GeoReason.NO_REFERENCES)
    # Matches that agree with one motion of the camera, whatever the tags say.
    verified = verify(camera, keypoints, references, config)
    if not verified:
        most = max(len(one.matches) for one in references)
        return GeoRejection(GeoReason.FEW_MATCHES, {"references": float(len(references)), "most_matches": float(most)})
    # Of these, the views that agree on the photo's rotation.
    views = agreeing_views(camera, keypoints, verified)
    nearest = nearest_view(views)
    best = best_tag(nearest, config)
    # Points seen from several places, tags and the photo's pose together.
    solved = solve(camera, keypoints, views, config, prior)
    # Never less certain than the best tag alone.
    by_tag = pose_of_tag(camera, keypoints, nearest, verified, config)
    if isinstance(solved, Solution):
        pose = _pose_of(solved, views, best)
        chosen = pose if by_tag is None or pose.horizontal_sigma_m <= by_tag.horizontal_sigma_m else by_tag
        return with_prior(chosen, prior)
    if by_tag is None or solved.reason is GeoReason.TAGS_CONTRADICT:
        return GeoRejection(solved.reason, solved.counts, best)
    return with_prior(by_tag, prior)


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
    )
