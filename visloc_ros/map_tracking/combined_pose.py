"""A pose tracked from an anchor and one by the map's reference images, combined by their covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import perturbed, pose_difference

_FARTHEST = 22.5  # squared distance in standard deviations: 99.9 % of six dimensions are nearer


@dataclass(frozen=True, eq=False)
class CombinedPose:
    """``map_from_camera`` with its covariances (6, 6).

    ``covariance`` takes the map at this place as true, ``covariance_since_anchor`` the anchor. ``tracking_covariance``
    is the latter for tracking from here on. Reference images do not reduce it: their error is the same in the next
    frames, and must not count as independent each time.
    """

    map_from_camera: SE3
    covariance: Array
    covariance_since_anchor: Array
    tracking_covariance: Array


def tracked_from_anchor(pose: SE3, covariance_since_anchor: Array, anchor: Array) -> CombinedPose:
    """The pose by an anchor, with the covariance ``anchor`` (6, 6) transported to here, and the motion since."""
    return CombinedPose(pose, anchor + covariance_since_anchor, covariance_since_anchor, covariance_since_anchor)


def located_by_references(pose: SE3, covariance: Array, anchor: Array) -> CombinedPose:
    """The pose by reference images alone: relative to an anchor it has the anchor's error, too."""
    return CombinedPose(pose, covariance, covariance + anchor, covariance + anchor)


def combine(tracked: CombinedPose, pose: SE3, covariance: Array, anchor: Array, of_map: Array) -> CombinedPose | None:
    """Correct a tracked pose by one of reference images; None where they contradict each other.

    They do not where ``of_map`` (6, 6), the map's own error, explains the difference. The weights are those of the
    motion since the anchor: the result counts as such a motion, and must not jump to the map after a new anchor, whose
    own error the fusion weighs.
    """
    error = pose_difference(pose, tracked.map_from_camera)
    total = tracked.covariance_since_anchor + covariance + anchor
    if error @ np.linalg.solve(total + of_map, error) > _FARTHEST:
        return None
    gain = np.linalg.solve(total, tracked.covariance_since_anchor).T
    kept, step = np.eye(6) - gain, gain @ error
    moved = perturbed(tracked.map_from_camera, step)
    combined_covariance = kept @ tracked.covariance @ kept.T + gain @ covariance @ gain.T
    since_anchor = kept @ tracked.covariance_since_anchor @ kept.T + gain @ (covariance + anchor) @ gain.T
    return CombinedPose(moved, combined_covariance, since_anchor, tracked.covariance_since_anchor)
