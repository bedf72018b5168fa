"""The images of a rig at one time, and what is found of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.tangent import move_covariance
from visloc_ros.core.types import AnchorPose, Frame, Rejection


@dataclass(frozen=True, eq=False)
class RigImage:
    """An image of one camera of a rig.

    Where its stamp is not that of the rig frame, ``rig_from_rig_then`` is how the rig moved from the image to that
    stamp, as odometry measured it, with its covariance (6, 6) about the axes of the rig; None where that is not known.
    """

    frame: Frame
    rig_from_rig_then: SE3 | None = None
    motion_covariance: Array | None = None

    @property
    def has_fault(self) -> bool:
        """Whether the covariance of the motion is invalid: nobody knows how far the rig moved."""
        covariance = self.motion_covariance
        return covariance is not None and covariance_fault(covariance, is_part=True) is not None


@dataclass(frozen=True, eq=False)
class RigPose:
    """Absolute ``map_from_rig`` at one stamp, and what it rests on.

    ``covariance`` (6, 6) and its part ``map_covariance``, which poses nearby share, as of ``AnchorPose``. ``by_camera``
    holds what each camera that takes part sees at this pose: ``map_from_camera`` at the stamp of the rig, its inliers,
    and the whole covariance of the rig moved to it. ``left_out`` are the other cameras, and why: of one that
    contradicts the others the reason is RIG_MISMATCH.
    """

    stamp_ns: int
    map_from_rig: SE3
    covariance: Array
    map_covariance: Array
    probability: float
    by_camera: Mapping[str, AnchorPose]
    left_out: Mapping[str, Rejection] = field(default_factory=dict)
    stage_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def num_inliers(self) -> int:
        """Number of inliers of all cameras."""
        return sum(anchor.num_inliers for anchor in self.by_camera.values())

    def of_camera(self, rig_from_camera: SE3) -> tuple[SE3, Array, Array]:
        """``map_from_camera`` of any camera of the rig, its covariance (6, 6) and the part that poses nearby share."""
        lever = self.map_from_rig.rotation @ rig_from_camera.translation
        covariance, shared = (move_covariance(one, lever) for one in (self.covariance, self.map_covariance))
        return self.map_from_rig @ rig_from_camera, covariance, shared

    def anchor_of(self, name: str, rig_from_camera: SE3) -> AnchorPose:
        """The pose as one of a camera; that of a camera that takes no part has no inliers of its own."""
        if name in self.by_camera:
            return self.by_camera[name]
        best = max(self.by_camera.values(), key=lambda anchor: anchor.num_inliers)
        return best.of_other(best.map_from_camera.inverse @ self.map_from_rig @ rig_from_camera)
