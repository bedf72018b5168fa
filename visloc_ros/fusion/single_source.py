"""One source in the fuser's place: anchors without odometry, or odometry without a map.

Anchors are absolute and do not drift, but are slow, late and isolated; odometry is smooth and at the camera's rate, but
relative and drifting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import (
    ACCEPTED,
    AnchorPose,
    Estimate,
    Mode,
    OdometryPose,
    Reason,
    Rejection,
    State,
    Support,
    Verdict,
)
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.estimator import Estimator
from visloc_ros.fusion.fused_output import SlewedOutput
from visloc_ros.fusion.fuser import Fuser
from visloc_ros.fusion.health import PoseSupport, judge_absence, judge_pose, reason_for
from visloc_ros.fusion.input_checks import is_valid_anchor, is_valid_odometry


class AnchorsOnly(Estimator):
    """The pose of each anchor at its own image; between them there is none. ``odom`` is at the camera."""

    missing = Reason.NO_ODOMETRY

    def reset(self) -> None:
        """Forget the last anchor: after a jump of the clock."""
        self.relocalize()

    def relocalize(self) -> None:
        """Forget the last anchor."""
        self._anchor: AnchorPose | None = None
        self._why: Reason | None = Reason.NO_ANCHOR

    def add_anchor(self, result: AnchorPose | Rejection) -> Verdict:
        """Take an anchor; refused are BAD_MESSAGE, not finite or without a valid covariance, and STALE, not newer."""
        verdict = super().add_anchor(result)
        self._why = verdict.reason if isinstance(verdict, Rejection) else None
        return verdict

    def _judge_anchor(self, anchor: AnchorPose) -> Verdict:
        if not is_valid_anchor(anchor):
            return Rejection(anchor.stamp_ns, Reason.BAD_MESSAGE)
        if self._anchor is not None and anchor.stamp_ns <= self._anchor.stamp_ns:
            return Rejection(anchor.stamp_ns, Reason.STALE)
        self._anchor = anchor
        return ACCEPTED

    def _raw_map_from_odom(self) -> SE3 | None:
        return None if self._anchor is None else self._anchor.map_from_camera

    def _estimate(self, stamp_ns: int) -> Estimate:
        """The newest anchor at its own stamp; at a later stamp the time since it."""
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
            anchor_probability=self._anchor.probability,
            support=Support.ANCHOR,
        )


class OdometryOnly(Estimator):
    """The path since the start in metres, where the odometry's scale is known; never a pose in a map."""

    missing = Reason.NO_MAP

    def reset(self) -> None:
        """Forget everything: after a jump of the clock."""
        self._output: SlewedOutput | None = None
        self._last: OdometryPose | None = None
        self._scale: float | None = None
        self._lost: Reason | None = None

    def change_camera(self, camera_from_other: SE3 | None) -> None:
        """Go on from the same place; a new segment has no scale yet."""
        output = self._output if camera_from_other is not None else None
        self._output = None if output is None or camera_from_other is None else output.of_other(camera_from_other)
        self._last, self._scale = None, None

    def _take_odometry(self, result: OdometryPose | Rejection) -> None:
        """Go on with the last known scale; the frame begins where the scale is first known."""
        if isinstance(result, Rejection):
            self._lost = result.reason
        elif not is_valid_odometry(result):
            self._lost = Reason.BAD_MESSAGE
        else:
            self._lost = None
            self._advance(result)

    def _estimate(self, stamp_ns: int) -> Estimate:
        """``odom_from_camera`` of the newest frame, or why there is none."""
        is_there = self._last is not None and self._last.stamp_ns == stamp_ns and self._scale is not None
        return Estimate(
            stamp_ns,
            State.UNINITIALIZED,
            self._lost or (Reason.SCALE_UNSET if self._scale is None else Reason.NO_MAP),
            odom_from_camera=self._output.odom_from_camera if self._output is not None and is_there else None,
            scale=self._scale,
            metric=self._scale is not None,
        )

    def _advance(self, pose: OdometryPose) -> None:
        before, self._last = self._last, pose
        if before is None or before.segment != pose.segment:
            self._scale = None  # of another segment
        elif self._output is not None and self._scale is not None:
            step = before.odom_from_camera.inverse @ pose.odom_from_camera
            self._output = self._output.advanced(step, self._scale)
        if pose.scale is not None:
            self._output = self._output or SlewedOutput.begin(SE3.identity())
            self._scale = pose.scale.metres_per_unit


ESTIMATORS: Mapping[Mode, Callable[[FusionConfig, bool], Estimator]] = {
    Mode.FUSED: Fuser,
    Mode.ANCHORS: AnchorsOnly,
    Mode.ODOM: OdometryOnly,
}
