"""The fuser: drifting odometry and late, sometimes wrong anchors in; one continuous pose with an honest state out.

An anchor meets the odometry of its own image, is gated against the prediction there, and joins the smoother. The
newest state of the smoother, carried along odometry to the present frame, is the aim that ``map_from_odom`` slews to.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.types import (
    AnchorPose,
    Estimate,
    LoopClosure,
    OdometryPose,
    Reason,
    Rejection,
    State,
    TrackedPose,
)
from visloc_ros.fusion.checks import is_anchor, is_covariance, is_loop, is_pose
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.drift import StateEstimate
from visloc_ros.fusion.estimator import ACCEPTED
from visloc_ros.fusion.first_fix import FirstFix
from visloc_ros.fusion.fixes import Fix, make_fix
from visloc_ros.fusion.gate import disagreement
from visloc_ros.fusion.health import judge_absence, judge_pose, judge_support, reason_for
from visloc_ros.fusion.held_fix import HeldFix
from visloc_ros.fusion.hint import Belief, Hint
from visloc_ros.fusion.history import OdometryHistory, Sample
from visloc_ros.fusion.innovation import Innovation
from visloc_ros.fusion.output import SmoothOutput
from visloc_ros.fusion.place_search import Place
from visloc_ros.fusion.sensor_factors import scale_prior, sensor_factors

MAX_PENDING = 16
MAX_INNOVATIONS = 64


class Fuser:
    """Joins odometry and anchors. One thread at a time; ``metric`` tells whether the map is in metres.

    Odometry that restarts in a new segment has a scale of its own: poses stop until anchors align it again, and
    ``odom_from_camera`` then continues from its last value.
    """

    def __init__(self, config: FusionConfig, metric: bool, gravity_aligned: bool = False) -> None:
        self._config = config
        self.metric = metric
        self.gravity_aligned = gravity_aligned
        self._counts: Counter[str] = Counter()
        self._tracked_counts: Counter[str] = Counter()
        self._loop_counts: Counter[str] = Counter()
        self._innovations: deque[Innovation] = deque(maxlen=MAX_INNOVATIONS)
        self.reset()

    def reset(self) -> None:
        """Forget everything but the counts: after a jump of the clock."""
        self._history = OdometryHistory(self._config.history_s, self._config.max_gap_s)
        self._output: SmoothOutput | None = None
        self._newest_ns: int | None = None
        self._odometry_lost: Reason | None = None
        self._scale: float | None = None
        self.relocalize()

    def relocalize(self) -> None:
        """Forget where the camera is in the map, any hint included; the odometry and its frame go on."""
        self._seek()
        self._now: StateEstimate | None = None
        self._pending: deque[AnchorPose] = deque(maxlen=MAX_PENDING)
        self._hint: Hint | None = None
        self._last_pose_ns: int | None = None
        self._last_fix_ns: int | None = None
        self._told = State.INITIALIZING

    def _seek(self) -> None:
        """Begin the search for a fix."""
        self._held: HeldFix | None = None
        self._first_fix = FirstFix(self._config, again=self._output is not None)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many anchors were accepted, and how many refused for each reason."""
        return dict(self._counts)

    @property
    def tracked_counts(self) -> Mapping[str, int]:
        """How many poses from followed map points were accepted, and how many refused for each reason."""
        return dict(self._tracked_counts)

    @property
    def loop_counts(self) -> Mapping[str, int]:
        """How many loops were joined, and how many refused for each reason."""
        return dict(self._loop_counts)

    @property
    def raw_map_from_odom(self) -> SE3 | None:
        """The correction as the newest anchors would have it, before slewing."""
        return self._output.raw_map_from_odom if self._output is not None and self._held is not None else None

    def set_initial_pose(self, stamp_ns: int, map_from_camera: SE3, covariance: Array) -> bool:
        """Take a hint (``/initialpose``, the last run): a prior for the search and for the start, never an output.

        A fix that is LOST, or that it contradicts beyond its covariance (6, 6), is given up; one that it agrees with
        stays, and the hint, which is then of no use, is left: False.
        """
        belief, sample = Belief(map_from_camera, covariance), self._history.at(stamp_ns)
        if self._held is not None:
            present = self.predict(stamp_ns)
            if present is not None and sample is not None:
                there = self._held.at(sample)
                if belief.allows(present, there.covariance[:6, :6]):
                    return False
            self.relocalize()
        self._hint = Hint(stamp_ns, belief, sample)
        return True

    @property
    def hint(self) -> Belief | None:
        """The hint as it stands at the newest frame; None without one, after a fix, or when it has become worthless."""
        if self._hint is None or self._held is not None or self._history.latest is None:
            return None
        belief = self._hint.at(self._history.latest)
        return belief if belief.is_worth_something else None

    @property
    def expected(self) -> Belief | None:
        """Where to look for the newest frame before there is a fix: near anchors that agree, else near the hint."""
        latest = self._history.latest
        if self._held is not None or latest is None:
            return None
        near = self._first_fix.expected
        belief = None if near is None else near.at(latest)
        return belief if belief is not None and belief.is_worth_something else self.hint

    def add_odometry(self, result: OdometryPose | Rejection) -> None:
        """Take the odometry of the next frame.

        Frames that are not newer are dropped, until ``reset``.
        """
        if self._newest_ns is not None and result.stamp_ns <= self._newest_ns:
            return
        self._newest_ns = result.stamp_ns
        if isinstance(result, Rejection):
            self._odometry_lost = result.reason
        elif not is_pose(result.odom_from_camera):
            self._odometry_lost = Reason.BAD_MESSAGE
        else:
            self._odometry_lost = None
            self._advance(result)
        self._take_pending()

    def add_anchor(self, result: AnchorPose | Rejection) -> Rejection | None:
        """Take an anchor, however late; None when accepted, or kept until odometry or other anchors bear it out.

        Refused: BAD_MESSAGE, not finite or without a valid covariance; STALE, older than the window or of an ended
        odometry segment; NO_TRANSFORM, no odometry at its stamp; ODOMETRY_DISAGREES, outside the gate.
        """
        verdict = result if isinstance(result, Rejection) else self._judge(result)
        self._counts[ACCEPTED if verdict is None else verdict.reason.value] += 1
        return verdict

    def add_tracked(self, result: TrackedPose | Rejection) -> Rejection | None:
        """Take a frame's pose from followed map points: it tells the motion since its anchor's image, no more.

        Refused: BAD_MESSAGE, not finite or without a valid covariance; STALE, not newer than what is known, or its
        anchor is not in use; NO_TRANSFORM, no odometry at its stamp; ODOMETRY_DISAGREES, its points have slipped.
        """
        verdict = result if isinstance(result, Rejection) else self._follow(result)
        self._tracked_counts[ACCEPTED if verdict is None else verdict.reason.value] += 1
        return verdict

    def add_loop(self, loop: LoopClosure) -> Rejection | None:
        """Take a loop that odometry closed; None when it was joined.

        Refused: BAD_MESSAGE, not finite, backward or without a positive covariance; NO_TRANSFORM, no odometry at either
        end; STALE, without a fix, from an ended odometry segment or before the window's anchors; ODOMETRY_DISAGREES,
        more than what is known allows.
        """
        verdict = self._close(loop)
        self._loop_counts[ACCEPTED if verdict is None else verdict.reason.value] += 1
        return verdict

    def take_innovations(self) -> Sequence[Innovation]:
        """How anchors and tracked poses met their predictions since the last call."""
        taken, self._innovations = self._innovations, deque(maxlen=MAX_INNOVATIONS)
        return tuple(taken)

    def predict(self, stamp_ns: int) -> SE3 | None:
        """``map_from_camera`` to search around for an image; before a fix what is ``expected``, None when LOST."""
        if self._held is None:
            expected = self.expected
            return None if expected is None else expected.map_from_camera
        sample = self._history.at(stamp_ns)
        if sample is None or not self._is_current(sample):
            return None
        there = self._held.at(sample)
        evidence = self._held.evidence(sample, there.covariance)
        return None if judge_pose(evidence, self._config.state) is State.LOST else there.state.map_from_camera

    def estimate(self, stamp_ns: int) -> Estimate:
        """The fused answer for the newest frame; other stamps, and frames without odometry, have no pose.

        A LOST estimate may still carry its pose: its covariance tells how far it can be off.
        """
        sample, now = self._history.latest, self._now
        if self._held is None or self._output is None or now is None or sample is None:
            return self._absence(stamp_ns)
        if sample.stamp_ns != stamp_ns:
            return self._absence(stamp_ns)
        remaining = self._output.remaining
        covariance = now.covariance[:6, :6] + np.outer(remaining, remaining)
        evidence = self._held.evidence(sample, covariance)
        self._told = state = judge_pose(evidence, self._config.state)
        return Estimate(
            stamp_ns,
            state,
            reason=reason_for(state, evidence, self._config.state),
            map_from_odom=self._output.map_from_odom,
            odom_from_camera=self._output.odom_from_camera,
            covariance=covariance + self._held.doubt_at(now.state.map_from_camera),
            scale=now.state.scale,
            metric=self.metric,
            age_ns=evidence.age_ns,
            distance_since_fix=evidence.distance,
            support=judge_support(evidence, self._config.state),
        )

    def _advance(self, pose: OdometryPose) -> None:
        previous = self._history.latest
        sample = self._history.append(pose)
        if previous is not None and previous.segment != sample.segment:
            self._seek()
            self._scale = None
        if self._scale is None or self._output is None or previous is None:
            return
        leg = previous.leg_to(sample)
        self._output = self._output.advanced(leg.camera_from_camera, self._scale)
        if self._held is not None:
            self._last_pose_ns = sample.stamp_ns
            self._aim(self._held)
            self._output = self._output.slewed(leg.seconds, self._config.slew)

    def _take_pending(self) -> None:
        """Judge anchors that were faster than their odometry."""
        waiting, self._pending = self._pending, deque(maxlen=MAX_PENDING)
        for anchor in waiting:
            verdict = self._judge(anchor)
            if verdict is not None:
                self._counts[ACCEPTED] -= 1
                self._counts[verdict.reason.value] += 1

    def _judge(self, anchor: AnchorPose) -> Rejection | None:
        if not is_anchor(anchor):
            return Rejection(anchor.stamp_ns, Reason.BAD_MESSAGE)
        if self._newest_ns is None or anchor.stamp_ns > self._newest_ns:
            self._pending.append(anchor)
            return None
        sample = self._history.at(anchor.stamp_ns)
        if sample is None:
            forgotten = self._history.is_forgotten(anchor.stamp_ns)
            return Rejection(anchor.stamp_ns, Reason.STALE if forgotten else Reason.NO_TRANSFORM)
        if not self._is_current(sample) or not self._reaches(sample):
            return Rejection(anchor.stamp_ns, Reason.STALE)
        fix = make_fix(sample, anchor, self._config.anchor_noise)
        return self._seek_start(fix) if self._held is None else self._join(self._held, fix)

    def _follow(self, tracked: TrackedPose) -> Rejection | None:
        """Extend the trail of the anchor that the points come from."""
        if not is_pose(tracked.map_from_camera) or not is_covariance(tracked.covariance_since_anchor):
            return Rejection(tracked.stamp_ns, Reason.BAD_MESSAGE)
        sample = self._history.at(tracked.stamp_ns)
        if sample is None:
            return Rejection(tracked.stamp_ns, Reason.NO_TRANSFORM)
        if self._held is None:
            return Rejection(tracked.stamp_ns, Reason.STALE)
        met = self._held.follow(tracked, sample)
        if isinstance(met, Rejection):
            return met
        self._innovations.append(met)
        if not met.accepted:
            return Rejection(tracked.stamp_ns, Reason.ODOMETRY_DISAGREES, {"chi_square": met.squared})
        self._aim(self._held)
        return None

    def _close(self, loop: LoopClosure) -> Rejection | None:
        """Join a loop to the fix that is held."""
        if not is_loop(loop):
            return Rejection(loop.later_ns, Reason.BAD_MESSAGE)
        earlier, later = self._history.at(loop.earlier_ns), self._history.at(loop.later_ns)
        if later is None or (earlier is None and not self._history.is_forgotten(loop.earlier_ns)):
            return Rejection(loop.later_ns, Reason.NO_TRANSFORM)
        if self._held is None or earlier is None or not self._is_current(earlier) or not self._is_current(later):
            return Rejection(loop.later_ns, Reason.STALE)
        refusal = self._held.close(loop, (earlier, later))
        if refusal is None:
            self._aim(self._held)
        return refusal

    def _is_current(self, sample: Sample) -> bool:
        latest = self._history.latest
        return latest is not None and latest.segment == sample.segment

    def _reaches(self, sample: Sample) -> bool:
        return self._held is None or self._held.reaches(sample.stamp_ns)

    def _seek_start(self, fix: Fix) -> Rejection | None:
        """Keep the anchor until enough of them agree and the camera has moved enough to know the scale."""
        prior = scale_prior(fix.sample, self._config.sensors, self.metric)
        place = self._first_fix.take(fix, prior, self._hint)
        if place is None:
            return None
        self._begin_at(place)
        if fix in place.fixes:
            return None
        return Rejection(fix.stamp_ns, Reason.ODOMETRY_DISAGREES, {"agreeing": len(place.fixes)})

    def _join(self, held: HeldFix, fix: Fix) -> Rejection | None:
        """Take an anchor that fits its prediction; those that do not may in time move the fix to where they agree."""
        innovation, elsewhere = held.join(fix)
        self._innovations.append(innovation)
        if elsewhere is not None:
            self._begin_at(elsewhere)
        elif innovation.accepted:
            self._aim(held)
        else:
            return disagreement(fix, innovation)
        return None

    def _begin_at(self, place: Place) -> None:
        sensors = sensor_factors(self._config.sensors, self.metric, self.gravity_aligned)
        self._held = HeldFix(self._config, place, sensors)
        self._hint = None
        self._aim(self._held)
        if self._output is not None:
            self._output = self._output.slewed(0.0, self._config.slew)  # a step does not wait for the next frame

    def _aim(self, held: HeldFix) -> None:
        """Point the output at the newest estimate; where there was no pose before, go there at once."""
        latest = self._history.latest
        if latest is None:
            return
        self._now = held.at(latest)
        aim = self._now.state.map_from_camera
        self._scale, self._last_fix_ns = self._now.state.scale, held.stamp_ns
        self._output = (self._output or SmoothOutput.begin(aim)).corrected(aim)
        if self._last_pose_ns != latest.stamp_ns:
            self._output = self._output.stepped()
            self._last_pose_ns = latest.stamp_ns

    def _absence(self, stamp_ns: int) -> Estimate:
        """Estimate without a pose in the map, and why there is none."""
        if self._newest_ns is None:
            return Estimate(stamp_ns, State.UNINITIALIZED, Reason.NO_TRANSFORM)
        if self._last_pose_ns is None:
            odom_from_camera = self._odom_from_camera(stamp_ns)
            return Estimate(stamp_ns, State.INITIALIZING, self._why_absent(), odom_from_camera=odom_from_camera)
        blind = judge_absence(stamp_ns - self._last_pose_ns, self._config.state)
        state = State.LOST if self._told is State.LOST else blind  # a frame without a pose makes nothing better
        age_ns = None if self._last_fix_ns is None else stamp_ns - self._last_fix_ns
        return Estimate(stamp_ns, state, self._why_absent(), age_ns=age_ns)

    def _odom_from_camera(self, stamp_ns: int) -> SE3 | None:
        """The camera in the continuous frame, which goes on while the place in the map is sought anew."""
        latest = self._history.latest
        if latest is None or latest.stamp_ns != stamp_ns or self._output is None or self._scale is None:
            return None
        return self._output.odom_from_camera

    def _why_absent(self) -> Reason:
        if self._odometry_lost is not None:
            return self._odometry_lost
        return self._first_fix.missing if self._held is None else Reason.NO_TRANSFORM
