"""The fused output from frame to frame: both transforms, the stamps of the last pose and fix, and the state.

It is slewed: the ``odom`` frame is continuous, and ``map_from_odom`` moves to its target at bounded rates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg
from visloc_ros.core.plausibility import is_plausible_pose
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, Reason, State
from visloc_ros.fusion.active_alignment import CONFIRMING_ANCHORS
from visloc_ros.fusion.config import FusionConfig, SlewConfig
from visloc_ros.fusion.health import PoseSupport, judge_absence, judge_pose, judge_support, reason_for
from visloc_ros.fusion.initialization.map_only_pose import MapOnlyEstimate


@dataclass(frozen=True, eq=False)
class SlewedOutput:
    """Both transforms at one frame: as broadcast, and the target of the newest estimate (raw)."""

    odom_from_camera: SE3
    map_from_odom: SE3
    raw_map_from_odom: SE3

    @staticmethod
    def begin(map_from_camera: SE3) -> SlewedOutput:
        """Start at the first fix; there the odom frame coincides with the map, and so stands upright with it."""
        return SlewedOutput(map_from_camera, SE3.identity(), SE3.identity())

    def advanced(self, camera_from_camera: SE3, scale: float) -> SlewedOutput:
        """Odometry's next increment, scaled: the scale of later increments never touches earlier ones."""
        step = SE3(camera_from_camera.rotation, scale * camera_from_camera.translation)
        return SlewedOutput(self.odom_from_camera @ step, self.map_from_odom, self.raw_map_from_odom)

    def of_other(self, camera_from_other: SE3) -> SlewedOutput:
        """The same of another camera on the body."""
        return replace(self, odom_from_camera=self.odom_from_camera @ camera_from_other)

    def corrected(self, map_from_camera: SE3) -> SlewedOutput:
        """Set the newest estimate at this frame as the target; nothing moves yet."""
        return SlewedOutput(self.odom_from_camera, self.map_from_odom, map_from_camera @ self.odom_from_camera.inverse)

    def stepped(self) -> SlewedOutput:
        """Make the whole correction at once."""
        return SlewedOutput(self.odom_from_camera, self.raw_map_from_odom, self.raw_map_from_odom)

    def slewed(self, seconds: float, config: SlewConfig) -> SlewedOutput:
        """Move the camera towards the target at the bounded rates; step if it is too far away for that."""
        current, target = self.map_from_odom @ self.odom_from_camera, self.raw_map_from_odom @ self.odom_from_camera
        distance = float(np.linalg.norm(target.translation - current.translation))
        angle = rotation_angle_deg(current.rotation, target.rotation)
        if distance > config.step_distance or angle > config.step_angle_deg:
            return self.stepped()
        needed_s = max(distance / config.speed, angle / config.turn_rate_deg)
        if needed_s <= seconds:
            return self.stepped()
        moved = current.interpolate(target, max(seconds, 0.0) / needed_s)
        return SlewedOutput(self.odom_from_camera, moved @ self.odom_from_camera.inverse, self.raw_map_from_odom)

    @property
    def remaining(self) -> Array:
        """Error (6,) of the broadcast camera pose against the target."""
        return pose_difference(
            self.raw_map_from_odom @ self.odom_from_camera, self.map_from_odom @ self.odom_from_camera
        )


class FusedOutput:
    """What is known of the camera at the newest frame, and what of it is broadcast.

    ``scale`` multiplies the increments of odometry, None while it is unknown; ``newest_ns`` is the stamp of the newest
    frame, ``pose_ns`` that of the newest frame with a pose in the map.
    """

    def __init__(self, config: FusionConfig) -> None:
        self._config = config
        self._slewed: SlewedOutput | None = None
        self.scale: float | None = None
        self._before_ns: int | None = None
        self.newest_ns: int | None = None
        self._motion_covariance: Array | None = None
        self._odom_at_odometry: SE3 | None = None  # odom_from_camera at odometry's last pose
        self.forget_map()

    def forget_map(self) -> None:
        """Forget the pose in the map; the camera goes on in the odometry's frame."""
        self.pose_ns: int | None = None
        self._fix_ns: int | None = None
        self._last_state = State.INITIALIZING

    def restarted(self) -> FusedOutput:
        """An output without measurements; where the pose in the odometry's frame is sound, that frame goes on."""
        again = FusedOutput(self._config)
        again.newest_ns = self.newest_ns
        if self._slewed is not None and is_plausible_pose(self._slewed.odom_from_camera):
            again._slewed = SlewedOutput(self._slewed.odom_from_camera, SE3.identity(), SE3.identity())
        return again

    def change_camera(self, camera_from_other: SE3 | None) -> None:
        """Go on with another camera on the body; where their places are not known the odometry's frame begins anew."""
        if self._slewed is not None:
            self._slewed = None if camera_from_other is None else self._slewed.of_other(camera_from_other)

    @property
    def has_begun(self) -> bool:
        """Whether the odometry's frame has its origin."""
        return self._slewed is not None

    @property
    def raw_map_from_odom(self) -> SE3 | None:
        """The correction by the newest estimate, before slewing."""
        return None if self._slewed is None else self._slewed.raw_map_from_odom

    @property
    def odom_from_camera(self) -> SE3 | None:
        """The camera in the continuous frame; None while odometry has no scale."""
        return None if self._slewed is None or self.scale is None else self._slewed.odom_from_camera

    @property
    def slewing_covariance(self) -> Array:
        """Covariance (6, 6) of an output that has not reached its target yet."""
        assert self._slewed is not None
        return np.outer(self._slewed.remaining, self._slewed.remaining)

    def begin_frame(self, stamp_ns: int, odometry_ns: int | None) -> None:
        """Go on to the next frame; ``odometry_ns`` is of odometry's last pose before it."""
        if self._slewed is not None and odometry_ns == self.newest_ns:
            self._odom_at_odometry = self._slewed.odom_from_camera
        self._before_ns, self.newest_ns = self.newest_ns, stamp_ns
        self._motion_covariance = None

    @property
    def goes_on(self) -> bool:
        """Whether the frame before has a pose, and the newest one none yet."""
        return self.pose_ns is not None and self.pose_ns == self._before_ns

    def advance(self, camera_from_camera: SE3, covariance: Array | None) -> None:
        """Add the motion since odometry's last pose, with its covariance (6, 6) where that is known; it has a scale.

        It replaces what followed points have added meanwhile.
        """
        assert self._slewed is not None
        assert self.scale is not None
        start = self._odom_at_odometry or self._slewed.odom_from_camera
        self._slewed = replace(self._slewed, odom_from_camera=start).advanced(camera_from_camera, self.scale)
        self._motion_covariance = covariance

    def correct(self, stamp_ns: int, target: SE3, fix_ns: int) -> None:
        """Set the target at a frame, by a fix; step there where there was no pose before, or one that was LOST."""
        self._fix_ns = fix_ns
        self._slewed = (self._slewed or SlewedOutput.begin(target)).corrected(target)
        if self.pose_ns != stamp_ns or self._last_state is State.LOST:
            self._slewed = self._slewed.stepped()
            self.pose_ns = stamp_ns

    def slew(self, seconds: float) -> None:
        """Move towards the target; one too far away is a step."""
        if self._slewed is not None:
            self._slewed = self._slewed.slewed(seconds, self._config.slew)

    def follow_map(self, known: MapOnlyEstimate) -> None:
        """Take the pose by the map alone, of a frame that has none yet."""
        stamp_ns, output = known.stamp_ns, self._slewed
        if output is None:
            output = SlewedOutput.begin(known.map_from_camera)
        elif self.goes_on and known.motion is not None:
            output = output.advanced(known.motion, 1.0)
            self._motion_covariance = known.motion_covariance
        output = output.corrected(known.map_from_camera)
        seconds = (stamp_ns - (self.pose_ns or stamp_ns)) / NANOSECONDS
        self._slewed = output.slewed(seconds, self._config.slew) if self.goes_on else output.stepped()
        self.pose_ns, self._fix_ns = stamp_ns, known.newest_ns

    def estimate(self, stamp_ns: int, support: PoseSupport, metric: bool) -> Estimate:
        """The pose of the newest frame, and how far its support lets it be trusted."""
        assert self._slewed is not None
        self._last_state = state = judge_pose(support, self._config.state)
        return Estimate(
            stamp_ns,
            state,
            reason=reason_for(state, support, self._config.state),
            map_from_odom=self._slewed.map_from_odom,
            odom_from_camera=self._slewed.odom_from_camera,
            covariance=support.covariance,
            metric=metric,
            age_ns=support.age_ns,
            distance_since_fix=support.distance,
            support=judge_support(support, self._config.state),
            motion_covariance=self._motion_covariance,
        )

    def estimate_by_map(self, known: MapOnlyEstimate, metric: bool) -> Estimate:
        """The same of a frame whose pose is by the map alone."""
        support = PoseSupport(
            known.distance,
            known.stamp_ns - known.newest_ns,
            known.covariance + self.slewing_covariance,
            known.is_contradicted,
            known.is_tracked,
            is_confirmed=known.num_anchors >= CONFIRMING_ANCHORS,
        )
        return replace(self.estimate(known.stamp_ns, support, metric), anchor_probability=known.probability)

    def estimate_without_pose(self, stamp_ns: int, reason: Reason, odom_from_camera: SE3 | None) -> Estimate:
        """Estimate without a pose in the map, and why there is none; before the first fix with the odometry's pose."""
        if self.newest_ns is None:
            return Estimate(stamp_ns, State.UNINITIALIZED, Reason.NO_TRANSFORM)
        if self.pose_ns is None:
            return Estimate(stamp_ns, State.INITIALIZING, reason, odom_from_camera=odom_from_camera)
        state = judge_absence(stamp_ns - self.pose_ns, self._config.state)
        if self._last_state is State.LOST:  # a frame without a pose does not end it
            state = State.LOST
        age_ns = None if self._fix_ns is None else stamp_ns - self._fix_ns
        return Estimate(stamp_ns, state, reason, age_ns=age_ns)
