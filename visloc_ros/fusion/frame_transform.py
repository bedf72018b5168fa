"""Carries a running estimator over to another frame of its map: its measurements go in, its results come out moved.

The estimator goes on in the frame, the units and the odom frame that it began in, so that neither its window of
measurements nor its covariances change when the map is aligned under a running robot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from visloc_ros.core.geometry import SE3, Array, Sim3
from visloc_ros.core.tangent import rescale_covariance
from visloc_ros.core.types import AnchorPose, Estimate, OdometryPose, Rejection, TrackedPose
from visloc_ros.fusion.initialization.pose_prior import PosePrior
from visloc_ros.fusion.innovation import Innovation


@dataclass(frozen=True, eq=False)
class FrameTransform:
    """``map_from_own``: the frame of the map by the estimator's own; ``odom_from_own``: the same of the odom frame.

    The latter only scales: it keeps ``odom`` continuous where the map's units change.
    """

    map_from_own: Sim3
    odom_from_own: Sim3

    @staticmethod
    def identity() -> FrameTransform:
        """The estimator's own frames."""
        return FrameTransform(Sim3.identity(), Sim3.identity())

    def moved(self, moved_from_map: Sim3, odom_from_camera: SE3 | None) -> FrameTransform:
        """The same for a map that was moved; ``odom_from_camera`` of now stays as it is."""
        map_from_own = moved_from_map @ self.map_from_own
        return FrameTransform(map_from_own, self._rescaled(map_from_own.scale, odom_from_camera))

    def restarted(self, odom_from_camera: SE3 | None) -> FrameTransform:
        """The same for an estimator that has forgotten the map, but goes on with its odometry."""
        return FrameTransform(Sim3.identity(), self._rescaled(1.0, odom_from_camera))

    @cached_property
    def is_identity(self) -> bool:
        """Whether nothing is moved."""
        return self.map_from_own.is_identity and self.odom_from_own.is_identity

    def _rescaled(self, scale: float, odom_from_camera: SE3 | None) -> Sim3:
        """``odom_from_own`` with another scale that leaves the camera where it is."""
        if odom_from_camera is None:
            return Sim3(scale, np.eye(3), self.odom_from_own.translation)
        own = self.odom_from_own.inverse @ odom_from_camera.translation
        return Sim3(scale, np.eye(3), odom_from_camera.translation - scale * own)

    def own_anchor(self, anchor: AnchorPose | Rejection) -> AnchorPose | Rejection:
        """An anchor in the estimator's frame."""
        if self.is_identity or isinstance(anchor, Rejection):
            return anchor
        return moved_anchor(anchor, self.map_from_own.inverse)

    def own_tracked(self, tracked: TrackedPose | Rejection) -> TrackedPose | Rejection:
        """A tracked pose in the estimator's frame."""
        if self.is_identity or isinstance(tracked, Rejection):
            return tracked
        return _moved_tracked(tracked, self.map_from_own.inverse)

    def own_odometry(self, result: OdometryPose | Rejection) -> OdometryPose | Rejection:
        """Odometry with its scale in the estimator's units."""
        if self.is_identity or isinstance(result, Rejection) or result.scale is None:
            return result
        metres = result.scale.metres_per_unit / self.map_from_own.scale
        return replace(result, scale=replace(result.scale, metres_per_unit=metres))

    def own_pose(self, map_from_camera: SE3, covariance: Array) -> tuple[SE3, Array]:
        """A pose with its covariance (6, 6) in the estimator's frame."""
        return moved_pose(map_from_camera, covariance, self.map_from_own.inverse)

    def own_step(self, camera_from_other: SE3 | None) -> SE3 | None:
        """The place of a camera beside another one, in the estimator's units."""
        if camera_from_other is None:
            return None
        return SE3(camera_from_other.rotation, camera_from_other.translation / self.map_from_own.scale)

    def pose(self, own_from_camera: SE3 | None) -> SE3 | None:
        """``map_from_camera`` of one in the estimator's frame."""
        return None if own_from_camera is None else self.map_from_own.apply_to_pose(own_from_camera)

    def prior(self, prior: PosePrior | None) -> PosePrior | None:
        """A prior in the map."""
        if prior is None:
            return None
        return PosePrior(*moved_pose(prior.map_from_camera, prior.covariance, self.map_from_own))

    def correction(self, own_map_from_odom: SE3 | None) -> SE3 | None:
        """``map_from_odom`` of that in the estimator's frames."""
        if own_map_from_odom is None:
            return None
        moved = self.map_from_own @ Sim3.from_se3(own_map_from_odom) @ self.odom_from_own.inverse
        return SE3(moved.rotation, moved.translation)

    def innovation(self, innovation: Innovation) -> Innovation:
        """An innovation about the axes and in the units of the map."""
        if self.is_identity:
            return innovation
        rotation, scale = self.map_from_own.rotation, self.map_from_own.scale
        error = np.concatenate([scale * (rotation @ innovation.error[:3]), rotation @ innovation.error[3:]])
        return replace(innovation, error=error, covariance=rescale_covariance(innovation.covariance, self.map_from_own))

    def estimate(self, estimate: Estimate, metric: bool) -> Estimate:
        """An estimate in the map, which is ``metric`` or not."""
        if self.is_identity:
            return estimate
        scale = self.map_from_own.scale
        odom = estimate.odom_from_camera
        return replace(
            estimate,
            map_from_odom=self.correction(estimate.map_from_odom),
            odom_from_camera=None if odom is None else self.odom_from_own.apply_to_pose(odom),
            covariance=_rescaled(estimate.covariance, self.map_from_own),
            motion_covariance=_rescaled(estimate.motion_covariance, self.map_from_own),
            scale=None if estimate.scale is None else scale * estimate.scale,
            distance_since_fix=None if estimate.distance_since_fix is None else scale * estimate.distance_since_fix,
            metric=metric,
        )


def moved_pose(pose: SE3, covariance: Array, moved_from_frame: Sim3) -> tuple[SE3, Array]:
    """A pose in a frame, with its covariance (6, 6), in another frame."""
    return moved_from_frame.apply_to_pose(pose), rescale_covariance(covariance, moved_from_frame)


def moved_anchor(anchor: AnchorPose, moved_from_map: Sim3) -> AnchorPose:
    """An anchor in another frame, with its inlier points."""
    return replace(
        anchor,
        map_from_camera=moved_from_map.apply_to_pose(anchor.map_from_camera),
        covariance=rescale_covariance(anchor.covariance, moved_from_map),
        map_covariance=_rescaled(anchor.map_covariance, moved_from_map),
        inlier_points=moved_from_map @ anchor.inlier_points,
    )


def _moved_tracked(tracked: TrackedPose, moved_from_map: Sim3) -> TrackedPose:
    return replace(
        tracked,
        map_from_camera=moved_from_map.apply_to_pose(tracked.map_from_camera),
        covariance=rescale_covariance(tracked.covariance, moved_from_map),
        covariance_since_anchor=rescale_covariance(tracked.covariance_since_anchor, moved_from_map),
        inlier_points=moved_from_map @ tracked.inlier_points,
    )


def _rescaled(covariance: Array | None, moved_from_frame: Sim3) -> Array | None:
    return None if covariance is None else rescale_covariance(covariance, moved_from_frame)
