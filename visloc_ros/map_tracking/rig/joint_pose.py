"""One pose from those that several cameras of a rig give, with the errors that they share counted once.

All follow the same anchor: its error is in each pose, as a whole where points were followed since, in part or not at
all where the map's own images correct them. What is left is independent from camera to camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import perturbed, pose_difference

_ORDINARY = 0.95  # share of the poses that agree, and differ no more than so by chance


@dataclass(frozen=True, eq=False)
class PoseByCamera:
    """``map_from_camera`` of the leading camera by the image of one camera.

    Its error (6,) is ``anchor_share`` (6, 6) times that of the anchor, moved here, and an own one with the covariance
    ``own`` (6, 6).
    """

    map_from_camera: SE3
    anchor_share: Array
    own: Array

    def covariance_since_anchor(self, anchor: Array) -> Array:
        """Covariance (6, 6) of what is added to the anchor's error, which has the covariance ``anchor`` (6, 6)."""
        added = self.anchor_share - np.eye(6)
        return np.asarray(added @ anchor @ added.T + self.own)

    def covariance(self, anchor: Array) -> Array:
        """Covariance (6, 6) of the pose, given that of the anchor moved here; without the map's error."""
        return np.asarray(self.anchor_share @ anchor @ self.anchor_share.T + self.own)

    def widened(self, added: Array) -> PoseByCamera:
        """The pose with a larger own covariance (6, 6)."""
        return replace(self, own=self.own + added)

    def squared_distance(self, other: PoseByCamera, anchor: Array) -> float:
        """Squared distance of two poses in standard deviations of their difference."""
        share = self.anchor_share - other.anchor_share
        covariance = share @ anchor @ share.T + self.own + other.own
        step = pose_difference(self.map_from_camera, other.map_from_camera)
        return float(step @ np.linalg.solve(covariance, step))


def join(poses: Sequence[PoseByCamera], anchor: Array) -> PoseByCamera:
    """The best linear unbiased estimate of the motion since the anchor, of one or more poses.

    ``anchor`` (6, 6) is the covariance of the anchor's own error, moved here. Poses that differ more than nearly all do
    by chance widen what is independent in it by as much (Birge 1932).
    """
    first, number = poses[0], len(poses)
    if number == 1:
        return first
    added = np.vstack([pose.anchor_share - np.eye(6) for pose in poses])
    covariance = added @ anchor @ added.T
    for index, pose in enumerate(poses):
        covariance[6 * index : 6 * index + 6, 6 * index : 6 * index + 6] += pose.own
    each = np.tile(np.eye(6), (number, 1))
    weighed = np.linalg.solve(covariance, each)
    weights = np.linalg.solve(each.T @ weighed, weighed.T)
    steps = np.concatenate([pose_difference(pose.map_from_camera, first.map_from_camera) for pose in poses])
    joint = weights @ steps
    residual = steps - each @ joint
    excess = float(residual @ np.linalg.solve(covariance, residual)) / chi_square_quantile(_ORDINARY, 6 * (number - 1))
    pairs = list(zip(np.split(weights, number, axis=1), poses, strict=True))
    own = sum((weight @ pose.own @ weight.T for weight, pose in pairs), np.zeros((6, 6)))
    return PoseByCamera(
        perturbed(first.map_from_camera, joint),
        sum((weight @ pose.anchor_share for weight, pose in pairs), np.zeros((6, 6))),
        0.5 * max(1.0, excess) * (own + own.T),
    )
