"""Places that look the same: which of several poses of a photo is right, or that none is known to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from visloc_geo.solving.types import GeoReason, GeoRejection, PhotoPose, Tag
from visloc_ros.core.geometry import Array
from visloc_ros.localization.evidence import SURE_LOG_ODDS

RIVAL_SHARE = 0.25
"""Of the matches of the best view: a twin of a place shares as many, fewer where its views are farther away."""
LEAST_MATCHES = 50
"""Of images that show the same: two streets that are no twins have 43 of 1024 keypoints in common."""

_SHARE_WITHOUT_POSE = 0.5  # the best view may show the same from far away: two photos of a street, 45 m apart, 0.27
_SAME_SIGMAS = 2.0  # two poses that differ by less may be one
_MOST_SIGMAS = 4.0  # a prior that is farther from all places is wrong itself


@dataclass(frozen=True, eq=False)
class _Claim:
    """Where a photo is by the views of one place, with a standard deviation, and its matches with the best of them."""

    result: PhotoPose | GeoRejection
    position: Array
    sigma_m: float
    num_matches: int

    @property
    def least_share(self) -> float:
        """Of the matches of another claim, with which it is a rival."""
        return RIVAL_SHARE if isinstance(self.result, PhotoPose) else _SHARE_WITHOUT_POSE

    def is_apart(self, other: _Claim) -> bool:
        """Whether both cannot be right."""
        distance = float(np.linalg.norm((self.position - other.position)[:2]))
        return distance > _SAME_SIGMAS * float(np.hypot(self.sigma_m, other.sigma_m))

    def squared_sigmas(self, prior: Tag) -> float:
        """Squared distance from a prior with a position, in standard deviations."""
        assert prior.position is not None
        squared = float(np.sum(np.square((self.position - prior.position)[:2])))
        return squared / (prior.position_sigma_m**2 + self.sigma_m**2)


def decided(pose: PhotoPose, rivals: Iterable[PhotoPose | GeoRejection], prior: Tag | None) -> PhotoPose | GeoRejection:
    """The pose of a photo, of which ``rivals`` are what other places say.

    Of different places that explain the photo about as well the one is right that the position of ``prior`` clearly
    prefers; without one none is.
    """
    found = _claim_of_pose(pose)
    others = [claim for claim in map(_claim_of, rivals) if claim is not None and claim.is_apart(found)]
    others = [one for one in others if one.num_matches >= max(LEAST_MATCHES, one.least_share * found.num_matches)]
    if not others:
        return pose
    preferred = None if prior is None or prior.position is None else _preferred([found, *others], prior)
    if preferred is not None and isinstance(preferred.result, PhotoPose):
        return preferred.result
    counts = {"matches": float(found.num_matches), "elsewhere": float(max(one.num_matches for one in others))}
    return GeoRejection(GeoReason.AMBIGUOUS_PLACE, counts, pose.best_tag)


def _preferred(claims: list[_Claim], prior: Tag) -> _Claim | None:
    """The claim that the prior clearly prefers to those apart from it, if there is one."""
    nearest, *farther = sorted(claims, key=lambda one: one.squared_sigmas(prior))
    if nearest.squared_sigmas(prior) > _MOST_SIGMAS**2:
        return None
    others = [one.squared_sigmas(prior) for one in farther if one.is_apart(nearest)]
    is_clear = all(0.5 * (one - nearest.squared_sigmas(prior)) >= SURE_LOG_ODDS for one in others)
    return nearest if is_clear else None


def _claim_of(result: PhotoPose | GeoRejection) -> _Claim | None:
    """What a result claims; a place without a pose may still have a view that shows the same."""
    if isinstance(result, PhotoPose):
        return _claim_of_pose(result)
    tag = result.best_tag
    return None if tag is None else _Claim(result, tag.position, tag.sigma_m, tag.num_inliers)


def _claim_of_pose(pose: PhotoPose) -> _Claim:
    return _Claim(pose, pose.position, pose.horizontal_sigma_m, pose.best_tag.num_inliers)
