"""One source alone in the fuser's place: anchors without odometry, or odometry without a map (SPEC H-50).

Anchors are absolute and do not drift, but slow, late and for themselves; odometry is smooth and at the camera's rate,
but relative, and drifts. Their ``odom`` frame begins at the camera: ``standing_on_base`` puts it under the robot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import (
    AnchorPose,
    Estimate,
    LoopClosure,
    OdometryPose,
    Reason,
    Rejection,
    State,
    Support,
    TrackedPose,
)
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.health import PoseSupport, judge_absence, judge_pose, reason_for
from visloc_ros.fusion.input_checks import is_valid_anchor
from visloc_ros.fusion.slewed_output import SlewedOutput


class Mode(str, Enum):
    """What the output is made from."""

    FUSED = "fused"
    HLOC = "hloc"
    ODOM = "odom"


class AnchorsAlone(Fuser):
    """The pose of each anchor at its own image; between them, and for odometry, there is none."""

    def relocalize(self) -> None:
        """Forget the last anchor."""
        super().relocalize()
        self._anchor: AnchorPose | None = None
        self._why: Reason | None = Reason.NO_ANCHOR

    def add_anchor(self, result: AnchorPose | Rejection) -> Rejection | None:
        """Take an anchor; refused are BAD_MESSAGE, not finite or without a valid covariance, and STALE, not newer."""
        verdict = super().add_anchor(result)
        self._why = None if verdict is None else verdict.reason
        return verdict

    @property
    def raw_map_from_odom(self) -> SE3 | None:
        """The newest anchor's pose: odom is at its camera."""
        return None if self._anchor is None else self._anchor.map_from_camera

    def estimate(self, stamp_ns: int) -> Estimate:
        """The newest anchor at its own stamp, and at a later one how long it is gone."""
        if self._anchor is None:
            return Estimate(stamp_ns, State.INITIALIZING, self._why)
        age_ns = stamp_ns - self._anchor.stamp_ns
        if age_ns != 0:
            state = judge_absence(age_ns, self._config.state)
            return Estimate(stamp_ns, state, self._why or Reason.STALE, age_ns=age_ns)
        support = PoseSupport(0.0, 0, self._anchor.covariance, is_contradicted=False)
        state = judge_pose(support, self._config.state)
        return Estimate(
            stamp_ns,
            state,
            reason_for(state, support, self._config.state),
            map_from_odom=self._anchor.map_from_camera,
            odom_from_camera=SE3.identity(),
            covariance=self._anchor.covariance,
            metric=self.metric,
            age_ns=0,
            distance_since_fix=0.0,
            support=Support.ANCHOR,
        )

    def _judge(self, anchor: AnchorPose) -> Rejection | None:
        if not is_valid_anchor(anchor):
            return Rejection(anchor.stamp_ns, Reason.BAD_MESSAGE)
        if not self._is_next(anchor.stamp_ns):
            return Rejection(anchor.stamp_ns, Reason.STALE)
        self._newest_ns, self._anchor = anchor.stamp_ns, anchor
        return None


class OdometryAlone(Fuser):
    """The way since the start in metres, wherever the odometry tells its scale; never a pose in a map."""

    def add_anchor(self, result: AnchorPose | Rejection) -> Rejection | None:
        """Refuse it: there is no map."""
        return self._refuse(result.stamp_ns)

    def add_tracked(self, result: TrackedPose | Rejection) -> Rejection | None:
        """Refuse it: there is no map."""
        return self._refuse(result.stamp_ns)

    def add_loop(self, loop: LoopClosure) -> Rejection | None:
        """Refuse it: odom never jumps."""
        return self._refuse(loop.later_ns)

    def estimate(self, stamp_ns: int) -> Estimate:
        """``odom_from_camera`` of the newest frame, or why there is none."""
        scale = Reason.SCALE_UNSET if self._scale is None else None
        return Estimate(
            stamp_ns,
            State.UNINITIALIZED,
            self._odometry_lost or scale or Reason.NO_MAP,
            odom_from_camera=self._odom_from_camera(stamp_ns),
            scale=self._scale,
            metric=self._scale is not None,
        )

    def _advance(self, pose: OdometryPose) -> None:
        """Go on by the scale known before; the frame begins where one is known for the first time."""
        if self._output is None and pose.scale is not None:
            self._output = SlewedOutput.begin(SE3.identity())
        super()._advance(pose)
        if pose.scale is not None:
            self._scale = pose.scale.metres_per_unit

    @staticmethod
    def _refuse(stamp_ns: int) -> Rejection:
        return Rejection(stamp_ns, Reason.NO_MAP)


FUSERS: Mapping[Mode, type[Fuser]] = {Mode.FUSED: Fuser, Mode.HLOC: AnchorsAlone, Mode.ODOM: OdometryAlone}


def standing_on_base(
    estimate: Estimate, raw_map_from_odom: SE3 | None, base_from_camera: SE3
) -> tuple[Estimate, SE3 | None]:
    """The same, with an ``odom`` frame that begins at the base, upright with it, instead of at the camera."""
    estimate = replace(
        estimate,
        map_from_odom=_moved(estimate.map_from_odom, base_from_camera.inverse),
        odom_from_camera=_moved(base_from_camera, estimate.odom_from_camera),
    )
    return estimate, _moved(raw_map_from_odom, base_from_camera.inverse)


def _moved(a_from_b: SE3 | None, b_from_c: SE3 | None) -> SE3 | None:
    return None if a_from_b is None or b_from_c is None else a_from_b @ b_from_c
