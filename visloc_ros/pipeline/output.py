"""From the estimate of a frame to the output: transforms, odometry and pose of the base, and its policy in a loss."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.tangent import move_covariance
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, Mode, State
from visloc_ros.fusion.health import inflated_covariance
from visloc_ros.fusion.odom_velocity import OdomState
from visloc_ros.pipeline.config import BackendConfig
from visloc_ros.pipeline.inputs import Input

RECENT = 8  # frames that may wait for the transform of another node's odometry

OthersOdometry = Callable[[int], SE3 | None]
"""``odom_from_base`` of another node at a stamp, None while it is not known there."""


@dataclass(frozen=True, eq=False)
class BasePose:
    """``map_from_base`` with its covariance (6, 6)."""

    map_from_base: SE3
    covariance: Array


@dataclass(frozen=True, eq=False)
class Published:
    """The output at one frame; None is not sent.

    ``map_from_odom`` is dated ``transform_tolerance`` after the frame where it ``is_dated_ahead``, else by the frame:
    without ``odom -> base`` there, the next pose, after a kidnapping, would be looked up by the old one.
    ``raw_map_from_odom`` is the same before it is slewed.
    ``pose`` is of a frame that has one, also where the loss policy keeps it back (``sends_pose`` is false).
    ``inputs`` were joined since the output before, in their order.
    """

    estimate: Estimate
    odom_from_base: SE3 | None = None
    map_from_odom: SE3 | None = None
    raw_map_from_odom: SE3 | None = None
    odom: OdomState | None = None
    pose: BasePose | None = None
    sends_pose: bool = False
    is_dated_ahead: bool = True
    inputs: tuple[Input, ...] = ()

    @property
    def stamp_ns(self) -> int:
        """Stamp of the frame."""
        return self.estimate.stamp_ns


@dataclass(frozen=True, eq=False)
class _Correction:
    """``map_from_odom`` as broadcast, and as the newest measurements would have it (raw)."""

    map_from_odom: SE3
    raw_map_from_odom: SE3


@dataclass(frozen=True, eq=False)
class _WaitingPose:
    """Where the robot is in the map at one frame: as broadcast, and raw."""

    stamp_ns: int
    map_from_base: SE3
    raw_map_from_base: SE3


class Output:
    """Makes the output of each estimate. ``others_odometry`` where another node broadcasts odom -> base."""

    def __init__(self, config: BackendConfig, others_odometry: OthersOdometry | None = None) -> None:
        self._config, self._others_odometry = config, others_odometry
        self._ahead_ns = int(config.transform_tolerance * NANOSECONDS)
        self.reset()

    def reset(self) -> None:
        """Start again after a jump of the clock."""
        self._odom: OdomState | None = None
        self._correction: _Correction | None = None
        self._waiting: deque[_WaitingPose] = deque(maxlen=RECENT)
        self._sent_until_ns = self._before_until_ns = 0  # dates of the last correction, and of that in the frame before

    def change_frame(self) -> None:
        """Send no correction in the frame before any more, and none in the new one before that has passed.

        It is dated ahead: between it and an earlier one in the new frame, listeners would interpolate.
        """
        self._correction, self._before_until_ns = None, self._sent_until_ns
        self._waiting.clear()

    def publish(self, estimate: Estimate, raw_map_from_odom: SE3 | None, base_from_camera: SE3) -> Published:
        """The output at one frame, with the earlier values that the loss policy continues."""
        config = self._config
        camera_from_base = base_from_camera.inverse
        if config.mode != Mode.FUSED:
            estimate, raw_map_from_odom = begun_at_base(estimate, raw_map_from_odom, base_from_camera)
        odom_from_base = None
        if estimate.odom_from_camera is not None:
            odom_from_base = estimate.odom_from_camera @ camera_from_base
        self._correct(estimate, raw_map_from_odom, odom_from_base)
        goes_on = estimate.state is not State.LOST or config.loss_policy != "stop_tf"
        is_due = estimate.stamp_ns > self._before_until_ns
        sends_correction = config.publish_map_to_odom_tf and self._correction is not None and goes_on and is_due
        is_corrected = self._correction is not None and estimate.map_from_odom is not None
        has_odom = odom_from_base is not None and config.mode != Mode.ANCHORS
        pose = self._pose_of(estimate, base_from_camera)
        if sends_correction:
            self._sent_until_ns = estimate.stamp_ns + self._ahead_ns
        return Published(
            estimate,
            odom_from_base if config.publish_odom_to_base_tf else None,
            self._correction.map_from_odom if self._correction is not None and sends_correction else None,
            self._correction.raw_map_from_odom if self._correction is not None and is_corrected else None,
            self._moved(estimate.stamp_ns, odom_from_base) if odom_from_base is not None and has_odom else None,
            pose,
            pose is not None and (estimate.state is not State.LOST or config.loss_policy == "inflate"),
            odom_from_base is not None or not config.publish_odom_to_base_tf,
        )

    def _pose_of(self, estimate: Estimate, base_from_camera: SE3) -> BasePose | None:
        if estimate.map_from_camera is None or estimate.covariance is None:
            return None
        map_from_base = estimate.map_from_camera @ base_from_camera.inverse
        camera_to_base = -(map_from_base.rotation @ base_from_camera.translation)
        covariance = move_covariance(estimate.covariance, camera_to_base)
        if estimate.state is State.LOST:
            age_s, distance = (estimate.age_ns or 0) / NANOSECONDS, estimate.distance_since_fix or 0.0
            covariance = inflated_covariance(covariance, age_s, distance, self._config.fusion.state)
        return BasePose(map_from_base, covariance) if covariance_fault(covariance) is None else None

    def _moved(self, stamp_ns: int, odom_from_base: SE3) -> OdomState:
        noise = self._config.fusion.odometry_noise
        self._odom = (
            OdomState.begin(stamp_ns, odom_from_base, noise)
            if self._odom is None
            else self._odom.moved(stamp_ns, odom_from_base, noise)
        )
        return self._odom

    def _correct(self, estimate: Estimate, raw_map_from_odom: SE3 | None, odom_from_base: SE3 | None) -> None:
        """Follow ``map_from_odom``; through frames without a pose the last one goes on, until a new start."""
        if estimate.map_from_odom is None or raw_map_from_odom is None or odom_from_base is None:
            if estimate.state in (State.UNINITIALIZED, State.INITIALIZING):
                self._correction = None
                self._waiting.clear()
            return
        if self._others_odometry is None:
            self._correction = _Correction(estimate.map_from_odom, raw_map_from_odom)
            return
        self._waiting.append(
            _WaitingPose(estimate.stamp_ns, estimate.map_from_odom @ odom_from_base, raw_map_from_odom @ odom_from_base)
        )
        self._correct_others(self._others_odometry)

    def _correct_others(self, odometry: OthersOdometry) -> None:
        """Correct another node's odometry at the newest frame that it has reached."""
        for pose in reversed(self._waiting):
            odom_from_base = odometry(pose.stamp_ns)
            if odom_from_base is not None:
                base_from_odom = odom_from_base.inverse
                self._correction = _Correction(
                    pose.map_from_base @ base_from_odom, pose.raw_map_from_base @ base_from_odom
                )
                return


def begun_at_base(
    estimate: Estimate, raw_map_from_odom: SE3 | None, base_from_camera: SE3
) -> tuple[Estimate, SE3 | None]:
    """The same, with an ``odom`` frame that begins at the base, upright with it, instead of at the camera.

    One source alone has no place in the map to put that frame's origin at.
    """
    estimate = replace(
        estimate,
        map_from_odom=_composed(estimate.map_from_odom, base_from_camera.inverse),
        odom_from_camera=_composed(base_from_camera, estimate.odom_from_camera),
    )
    return estimate, _composed(raw_map_from_odom, base_from_camera.inverse)


def _composed(a_from_b: SE3 | None, b_from_c: SE3 | None) -> SE3 | None:
    return None if a_from_b is None or b_from_c is None else a_from_b @ b_from_c
