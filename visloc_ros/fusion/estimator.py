"""What turns odometry and anchors into the pose of a frame: fused, or one source by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import AnchorPose, Estimate, LoopClosure, OdometryPose, Rejection, TrackedPose
from visloc_ros.fusion.initialization.pose_prior import PosePrior
from visloc_ros.fusion.innovation import Innovation

ACCEPTED = "ACCEPTED"


class Estimator(Protocol):
    """One thread at a time. ``add_*`` give None where the measurement was accepted, else why it was refused."""

    metric: bool
    """Whether the map is in metres."""
    gravity_aligned: bool
    """Whether the map's z axis points up."""

    def reset(self) -> None:
        """Forget everything but the counts: after a jump of the clock."""

    def restart(self) -> None:
        """Forget all measurements but not where the odometry's frame is: after a numerical failure."""

    def relocalize(self) -> None:
        """Forget where the camera is in the map; the odometry and its frame go on."""

    def add_odometry(self, result: OdometryPose | Rejection) -> None:
        """Take the odometry of the next frame; stamps increase until ``reset``."""

    def add_anchor(self, result: AnchorPose | Rejection) -> Rejection | None:
        """Take an anchor, however late."""

    def add_tracked(self, result: TrackedPose | Rejection) -> Rejection | None:
        """Take the pose of a frame from map points followed since an anchor."""

    def add_loop(self, loop: LoopClosure) -> Rejection | None:
        """Take a loop that odometry closed."""

    def set_initial_pose(self, stamp_ns: int, map_from_camera: SE3, covariance: Array) -> bool:
        """Take a prior for the search; False where the pose that is known agrees with it, and it is of no use."""

    def predict(self, stamp_ns: int) -> SE3 | None:
        """``map_from_camera`` to search around for an image; None where nothing is known."""

    def awaits_tracking(self, stamp_ns: int) -> bool:
        """Whether the pose of the newest frame comes with its tracked map points, if these are found."""

    def estimate(self, stamp_ns: int) -> Estimate:
        """The answer for the newest frame."""

    def take_innovations(self) -> Sequence[Innovation]:
        """The innovations since the last call."""

    @property
    def raw_map_from_odom(self) -> SE3 | None:
        """The correction by the newest estimate, before slewing."""

    @property
    def pose_prior(self) -> PosePrior | None:
        """The pose prior at the newest frame; None without one, after a fix, or once it has become too uncertain."""

    @property
    def search_prior(self) -> PosePrior | None:
        """Where to search for the newest frame before the first fix."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many anchors were accepted, and how many refused for each reason."""

    @property
    def tracked_counts(self) -> Mapping[str, int]:
        """The same of poses from followed map points."""

    @property
    def loop_counts(self) -> Mapping[str, int]:
        """The same of loops."""
