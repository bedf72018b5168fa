"""The fuser: estimates a continuous pose, with covariance and state, from odometry and late, sometimes wrong anchors.

An anchor is paired with the odometry of its own image, gated against the prediction there, and added to the smoother.
The newest state of the smoother, propagated to the present frame, is the target of the slewed ``map_from_odom``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import (
    ACCEPTED,
    PENDING,
    UNCONFIRMED_S,
    AnchorPose,
    Estimate,
    LoopClosure,
    OdometryPose,
    Reason,
    Rejection,
    State,
    TrackedPose,
    Verdict,
)
from visloc_ros.fusion.active_alignment import ActiveAlignment, refusal
from visloc_ros.fusion.anchor_fix import AnchorFix, make_fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.contradiction import Contradiction, shows_another_place
from visloc_ros.fusion.estimator import Estimator
from visloc_ros.fusion.fused_output import FusedOutput
from visloc_ros.fusion.health import judge_pose
from visloc_ros.fusion.initialization.alignment_search import MAX_CANDIDATES, AlignmentHypothesis, FirstFix
from visloc_ros.fusion.initialization.map_only_pose import MapOnlyPose
from visloc_ros.fusion.initialization.pose_prior import PosePrior, StampedPosePrior
from visloc_ros.fusion.innovation import Innovation
from visloc_ros.fusion.input_checks import is_valid_anchor, is_valid_loop, is_valid_odometry, is_valid_tracked
from visloc_ros.fusion.odometry_model.history import OdometryHistory, OdometrySample, RelativeMotion
from visloc_ros.fusion.odometry_model.noise_model import StateEstimate
from visloc_ros.fusion.smoothing.factors.sensors import make_sensor_factors, scale_prior

MAX_PENDING = 16
MAX_INNOVATIONS = 64


class Fuser(Estimator):
    """Joins odometry, anchors, followed map points and loops.

    Odometry that restarts in a new segment has another scale: poses stop until anchors align it again, and
    ``odom_from_camera`` then continues from its last value.
    """

    def __init__(self, config: FusionConfig, metric: bool, gravity_aligned: bool = False) -> None:
        self._map_only: MapOnlyPose
        self._waiting: deque[AnchorPose] = deque()  # for the odometry of their images
        self._candidates: deque[AnchorPose] = deque()  # for others that agree
        super().__init__(config, metric, gravity_aligned)

    def reset(self) -> None:
        """Forget everything but the counts: after a jump of the clock."""
        self._innovations: deque[Innovation] = deque(maxlen=MAX_INNOVATIONS)
        self._history = OdometryHistory(self._config.history_s, self._config.max_gap_s)
        self._output = FusedOutput(self._config)
        self._odometry_lost: Reason | None = None
        self._step: RelativeMotion | None = None  # of odometry, to the newest frame from the one before
        self._recovered_ns: int | None = None  # when odometry last found where it was before it was lost
        self.relocalize()

    def restart(self) -> None:
        """Forget all measurements; where the pose in the odometry's frame is sound, that frame continues from it."""
        output = self._output.restarted()
        self.reset()
        self._output = output
        if output.has_begun:
            self._start_search()

    def change_camera(self, camera_from_other: SE3 | None) -> None:
        """Forget all measurements, which are of the camera before; the odometry's frame goes on.

        So does the pose by the map alone, where points of the same anchors are followed in the other camera's images.
        If these contradicted the odometry, which ends, they were right.
        """
        map_only, is_odometry_wrong = self._map_only, self._contradiction is not None
        if self._refused is not None:
            map_only.follow(self._refused)
        self.restart()
        self._output.change_camera(camera_from_other)
        if camera_from_other is not None:
            self._map_only = map_only
            self._map_only.change_camera(camera_from_other, is_odometry_wrong=is_odometry_wrong)

    def relocalize(self) -> None:
        """Forget the alignment to the map and any pose prior; the odometry and its frame go on."""
        self._drop(self._waiting)
        self._start_search()
        self._current: tuple[OdometrySample, StateEstimate] | None = None  # the newest
        self._pose_prior: StampedPosePrior | None = None
        self._output.forget_map()
        self._map_only = MapOnlyPose(self._config)

    def _give_up_fix(self) -> None:
        """Forget a wrong alignment and the poses by it."""
        self._start_search()
        self._current, self._output.scale = None, None
        self._output.forget_map()
        self._map_only.end()

    def _start_search(self) -> None:
        """Drop the alignment and search for a new one."""
        self._drop(self._candidates)
        self._alignment: ActiveAlignment | None = None
        self._contradiction: Contradiction | None = None
        self._agreed_ns: int | None = None  # when followed points or an anchor last agreed with odometry
        self._refused: TrackedPose | None = None  # the last one that contradicted odometry
        self._first_fix = FirstFix(self._config, again=self._output.has_begun)

    def _raw_map_from_odom(self) -> SE3 | None:
        is_known = self._alignment is not None or self._output.pose_ns == self._output.newest_ns
        return self._output.raw_map_from_odom if is_known else None

    def _set_initial_pose(self, stamp_ns: int, map_from_camera: SE3, covariance: Array) -> bool:
        """Take a pose prior (``/initialpose``, the last run) for the search and the first fix; it is never an output.

        An alignment that is LOST, or that contradicts the prior beyond its covariance (6, 6), is dropped. One that
        agrees stays, and the prior is not used: False.
        """
        prior, sample = PosePrior(map_from_camera, covariance), self._history.at(stamp_ns)
        if self._alignment is not None:
            present = self._predict(stamp_ns)
            if present is not None and sample is not None:
                there = self._alignment.at(sample)
                if prior.is_consistent_with(present, there.covariance[:6, :6]):
                    return False
            self.relocalize()
        self._pose_prior = StampedPosePrior(stamp_ns, prior, sample)
        return True

    def _pose_prior_now(self) -> PosePrior | None:
        if self._pose_prior is None or self._alignment is not None or self._history.latest is None:
            return None
        prior = self._pose_prior.at(self._history.latest)
        return prior if prior.is_informative else None

    def _search_prior_now(self) -> PosePrior | None:
        """Prior of the search: near anchors that agree, else near the pose prior."""
        latest = self._history.latest
        if self._alignment is not None or latest is None:
            return None
        near = self._first_fix.search_prior
        prior = None if near is None else near.at(latest)
        return prior if prior is not None and prior.is_informative else self._pose_prior_now()

    def _take_odometry(self, result: OdometryPose | Rejection) -> None:
        """Take the odometry of the next frame; frames that are not newer are dropped."""
        newest_ns = self._output.newest_ns
        if newest_ns is not None and result.stamp_ns <= newest_ns:
            return
        latest = self._history.latest
        self._output.begin_frame(result.stamp_ns, None if latest is None else latest.stamp_ns)
        self._step = None
        if isinstance(result, Rejection):
            self._odometry_lost = result.reason
        elif not is_valid_odometry(result):
            self._odometry_lost = Reason.BAD_MESSAGE
        else:
            self._odometry_lost = None
            self._advance(result, newest_ns)
        self._judge_waiting()
        self._advance_map_only(result.stamp_ns)

    def _judge_anchor(self, anchor: AnchorPose) -> Verdict:
        """PENDING until odometry reaches its stamp and enough anchors agree.

        Refused: BAD_MESSAGE, not finite or without a valid covariance; STALE, older than the window or of an ended
        odometry segment; NO_TRANSFORM, no odometry at its stamp; ODOMETRY_DISAGREES, outside the gate.
        """
        if not is_valid_anchor(anchor):
            return Rejection(anchor.stamp_ns, Reason.BAD_MESSAGE)
        contradiction = None if self._is_led else self._map_only.take(anchor, self._pose_prior)
        if contradiction is not None:
            return contradiction
        newest = self._history.latest
        if newest is None or anchor.stamp_ns > newest.stamp_ns:
            self._waiting.append(anchor)
            self._drop(self._waiting, MAX_PENDING)
            return PENDING
        return self._judge_with_odometry(anchor)

    def _drop(self, anchors: deque[AnchorPose], kept: int = 0) -> None:
        """Give up pending anchors, the oldest first."""
        while len(anchors) > kept:
            anchor = anchors.popleft()
            self._settle(anchor, Rejection(anchor.stamp_ns, Reason.STALE))

    def awaits_tracking(self, stamp_ns: int) -> bool:
        """Whether the pose of the newest frame comes with its tracked map points, if these are found.

        Odometry that was lost may go on at a wrong place: points that were followed meanwhile show that.
        """
        if self._is_led:
            return stamp_ns == self._recovered_ns and self._map_only.was_followed_lately(stamp_ns)
        return self._map_only.awaits_tracking(stamp_ns)

    def take_innovations(self) -> Sequence[Innovation]:
        """The innovations of anchors and tracked poses since the last call."""
        taken, self._innovations = self._innovations, deque(maxlen=MAX_INNOVATIONS)
        return tuple(taken)

    def _predict(self, stamp_ns: int) -> SE3 | None:
        """Before the first fix the ``search_prior``, None when LOST."""
        known = None if self._is_led else self._map_only.pose_at(stamp_ns)
        if known is not None:
            return known.map_from_camera
        if self._alignment is None:
            search_prior = self._search_prior_now()
            return None if search_prior is None else search_prior.map_from_camera
        sample = self._history.at(stamp_ns)
        if sample is None or not self._is_current(sample):
            return None
        there = self._estimate_at(sample, self._alignment)
        support = self._alignment.support_at(sample, there.covariance)
        return None if judge_pose(support, self._config.state) is State.LOST else there.state.map_from_camera

    def _estimate_at(self, sample: OdometrySample, alignment: ActiveAlignment) -> StateEstimate:
        if self._current is not None and self._current[0] is sample:
            return self._current[1]
        return alignment.at(sample)

    def _estimate(self, stamp_ns: int) -> Estimate:
        """The fused estimate of the newest frame; other stamps, and frames without odometry, have no pose.

        A LOST estimate may still carry its pose: its covariance shows its uncertainty.
        """
        sample = self._history.latest
        known = None if self._is_led else self._map_only.pose_at(stamp_ns)
        if known is not None and self._output.pose_ns == stamp_ns:
            return self._output.estimate_by_map(known, self.metric)
        if self._alignment is None or self._current is None or sample is None or sample.stamp_ns != stamp_ns:
            odom_from_camera = None if sample is None or sample.stamp_ns != stamp_ns else self._output.odom_from_camera
            return self._output.estimate_without_pose(stamp_ns, self._why_no_pose(), odom_from_camera)
        now = self._current[1]
        covariance = now.covariance[:6, :6] + self._output.slewing_covariance
        if self._contradiction is not None:
            covariance = covariance + self._contradiction.covariance_at(stamp_ns)
        support = self._alignment.support_at(sample, covariance)
        return replace(
            self._output.estimate(stamp_ns, support, self.metric),
            covariance=covariance + self._alignment.kidnapping_covariance(now.state.map_from_camera),
            scale=now.state.scale,
            anchor_probability=self._alignment.anchor_probability,
        )

    def _advance(self, pose: OdometryPose, before_ns: int | None) -> None:
        previous = self._history.latest
        sample = self._history.append(pose)
        if pose.is_recovered:
            self._recovered_ns = pose.stamp_ns
        if previous is not None and previous.segment != sample.segment:
            self._start_search()
            self._output.scale = None
        elif previous is not None and previous.stamp_ns == before_ns and not pose.is_recovered:
            self._step = previous.motion_to(sample)
        if previous is None or self._output.odom_from_camera is None:
            return
        motion = self._step or previous.motion_to(sample)
        self._output.advance(motion.camera_from_camera, self._step_covariance())
        if self._alignment is not None:
            self._output.pose_ns = sample.stamp_ns
            self._update_output(self._alignment)
            self._output.slew(motion.seconds)

    def _step_covariance(self) -> Array | None:
        """Covariance (6, 6) of odometry's motion since the frame before, None where it was not measured."""
        if self._step is None or self._alignment is None or self._current is None:
            return None
        return self._alignment.motion_covariance(self._current[1], self._step)

    def _judge_waiting(self) -> None:
        """Judge anchors that arrived before their odometry, which may begin with poses of earlier frames."""
        waiting, self._waiting = self._waiting, deque()
        for anchor in waiting:
            self._settle(anchor, self._judge_anchor(anchor))

    def _judge_with_odometry(self, anchor: AnchorPose) -> Verdict:
        sample = self._history.at(anchor.stamp_ns)
        if sample is None:
            forgotten = self._history.is_forgotten(anchor.stamp_ns)
            return Rejection(anchor.stamp_ns, Reason.STALE if forgotten else Reason.NO_TRANSFORM)
        if not self._is_current(sample) or not self._reaches(sample):
            return Rejection(anchor.stamp_ns, Reason.STALE)
        fix = make_fix(sample, anchor, self._config.anchor_noise)
        return self._initialize(fix) if self._alignment is None else self._update_alignment(self._alignment, fix)

    def _judge_tracked(self, tracked: TrackedPose) -> Verdict:
        """Join a frame's pose from tracked map points, as a measurement of the motion since their anchor's image.

        Refused: BAD_MESSAGE, not finite or without a valid covariance; STALE, not newer than the last one, or its
        anchor is not in use; NO_TRANSFORM, no odometry at its stamp; ODOMETRY_DISAGREES, its points have slipped.
        """
        if not is_valid_tracked(tracked):
            return Rejection(tracked.stamp_ns, Reason.BAD_MESSAGE)
        if self._alignment is None or not self._is_led:
            return self._follow_map_only(tracked)
        sample = self._history.at(tracked.stamp_ns)
        if sample is None:
            return Rejection(tracked.stamp_ns, Reason.NO_TRANSFORM)
        innovation = self._alignment.add_tracked(tracked, sample)
        if isinstance(innovation, Rejection):
            return innovation
        self._innovations.append(innovation)
        if not innovation.accepted:
            self._contradicted_by(tracked, sample, self._alignment)
            if self._alignment.is_refuted_by(innovation):
                self._give_up_fix()
            return Rejection(tracked.stamp_ns, Reason.ODOMETRY_DISAGREES, {"chi_square": innovation.squared})
        self._agree(tracked.stamp_ns)
        self._update_output(self._alignment)
        self._map_only.follow(tracked)
        return ACCEPTED

    def _agree(self, stamp_ns: int) -> None:
        """Odometry was right at a stamp: earlier contradictions are settled."""
        if self._contradiction is not None and stamp_ns > self._contradiction.stamp_ns:
            self._contradiction = None
        self._agreed_ns = max(stamp_ns, self._agreed_ns or stamp_ns)

    def _contradicted_by(self, tracked: TrackedPose, sample: OdometrySample, alignment: ActiveAlignment) -> None:
        """Followed points and odometry contradict each other: until they agree the pose may be off, and ever more."""
        error = pose_difference(tracked.map_from_camera, alignment.at(sample).state.map_from_camera)
        self._contradiction = Contradiction.by(error, tracked.stamp_ns, self._agreed_ns)
        self._refused = tracked

    def _judge_loop(self, loop: LoopClosure) -> Verdict:
        """Join a loop that odometry closed.

        Refused: BAD_MESSAGE, not finite, backward or without a positive covariance; NO_TRANSFORM, no odometry at either
        end; STALE, without an alignment, from an ended odometry segment or before the window; ODOMETRY_DISAGREES,
        outside the gate.
        """
        if not is_valid_loop(loop):
            return Rejection(loop.later_ns, Reason.BAD_MESSAGE)
        earlier, later = self._history.at(loop.earlier_ns), self._history.at(loop.later_ns)
        if later is None or (earlier is None and not self._history.is_forgotten(loop.earlier_ns)):
            return Rejection(loop.later_ns, Reason.NO_TRANSFORM)
        if self._alignment is None or earlier is None or not self._is_current(earlier) or not self._is_current(later):
            return Rejection(loop.later_ns, Reason.STALE)
        verdict = self._alignment.add_loop(loop, (earlier, later))
        if verdict is ACCEPTED:
            self._update_output(self._alignment)
        return verdict

    def _is_current(self, sample: OdometrySample) -> bool:
        latest = self._history.latest
        return latest is not None and latest.segment == sample.segment

    def _reaches(self, sample: OdometrySample) -> bool:
        return self._alignment is None or self._alignment.reaches(sample.stamp_ns)

    def _initialize(self, fix: AnchorFix) -> Verdict:
        """Keep an anchor until enough of them agree and the camera has moved enough to determine the scale."""
        prior = scale_prior(fix.sample, self._config.sensors, self.metric)
        hypothesis = self._first_fix.take(fix, prior, self._pose_prior)
        if hypothesis is None:
            self._candidates.append(fix.anchor)
            self._drop(self._candidates, MAX_CANDIDATES)
            return PENDING
        self._start_alignment(hypothesis)
        return ACCEPTED if fix in hypothesis.fixes else self._disagreeing(fix.anchor, hypothesis)

    def _disagreeing(self, anchor: AnchorPose, hypothesis: AlignmentHypothesis) -> Rejection:
        return Rejection(anchor.stamp_ns, Reason.ODOMETRY_DISAGREES, {"agreeing": len(hypothesis.fixes)})

    def _update_alignment(self, alignment: ActiveAlignment, fix: AnchorFix) -> Verdict:
        """Add an anchor that passes the gate; refused ones may start another alignment once enough of them agree."""
        innovation, hypothesis = alignment.add_anchor(fix)
        self._innovations.append(innovation)
        if hypothesis is not None:
            self._start_alignment(hypothesis)
        elif innovation.accepted:
            self._agree(fix.stamp_ns)
            self._update_output(alignment)
            self._map_only.agree(fix.anchor)
        else:
            return refusal(fix, innovation)
        return ACCEPTED

    def _start_alignment(self, hypothesis: AlignmentHypothesis) -> None:
        sensors = make_sensor_factors(self._config.sensors, self.metric, self.gravity_aligned)
        self._alignment = ActiveAlignment(self._config, hypothesis, sensors)
        self._pose_prior = None
        self._settle_candidates(hypothesis)
        if self._is_led:
            self._map_only.end()
        for fix in hypothesis.fixes:
            self._map_only.agree(fix.anchor)
        self._update_output(self._alignment)
        self._output.slew(0.0)  # a step must not wait for the next frame

    def _settle_candidates(self, hypothesis: AlignmentHypothesis) -> None:
        agreeing = {fix.stamp_ns for fix in hypothesis.fixes}
        candidates, self._candidates = self._candidates, deque()
        for anchor in candidates:
            is_agreeing = anchor.stamp_ns in agreeing
            self._settle(anchor, ACCEPTED if is_agreeing else self._disagreeing(anchor, hypothesis))

    def _update_output(self, alignment: ActiveAlignment) -> None:
        """Set the output's target to the newest estimate; step there where there was no pose before."""
        latest = self._history.latest
        if latest is None:
            return
        newest = alignment.at(latest)
        self._current = latest, newest
        if not self._is_led and self._output.pose_ns == self._output.newest_ns:
            return  # the output is at a later frame, whose pose is by the map alone
        is_scaled, self._output.scale = self._output.scale is not None, newest.state.scale
        if not is_scaled and self._step is not None and self._output.goes_on:  # from a pose by the map alone
            self._output.advance(self._step.camera_from_camera, self._step_covariance())
        self._output.correct(latest.stamp_ns, newest.state.map_from_camera, alignment.stamp_ns)

    def _miss_tracked(self, rejection: Rejection) -> None:
        if rejection.reason is Reason.RIG_MISMATCH:  # odometry is by the camera that another one contradicts
            seconds = rejection.counts.get(UNCONFIRMED_S, 0.0)
            self._contradiction = Contradiction.unobserved(rejection.stamp_ns, seconds).or_larger(self._contradiction)
        elif self._agreed_ns is not None and shows_another_place(rejection) and self._is_sure:
            seconds = (rejection.stamp_ns - self._agreed_ns) / NANOSECONDS
            self._contradiction = Contradiction.unobserved(rejection.stamp_ns, seconds).or_larger(self._contradiction)
        if not self._is_led:
            self._map_only.miss(rejection.stamp_ns)
            self._take_map_only(rejection.stamp_ns)

    def _follow_map_only(self, tracked: TrackedPose) -> Verdict:
        verdict = self._map_only.follow(tracked)
        if verdict is ACCEPTED:
            self._take_map_only(tracked.stamp_ns)
        return verdict

    @property
    def _is_sure(self) -> bool:
        """Whether odometry says so exactly where the camera is that map points would be found there."""
        if not self._is_led or self._alignment is None or self._current is None:
            return False
        sample, now = self._current
        support = self._alignment.support_at(sample, now.covariance[:6, :6])
        return judge_pose(support, self._config.state) is State.LOCALIZED

    @property
    def _is_led(self) -> bool:
        """Whether odometry gives the pose of the newest frame."""
        latest = self._history.latest
        return self._alignment is not None and latest is not None and latest.stamp_ns == self._output.newest_ns

    def _advance_map_only(self, stamp_ns: int) -> None:
        """Follow the pose by the map alone, at a frame whose pose odometry does not give."""
        latest = self._history.latest
        if self._is_led:
            assert self._alignment is not None
            assert latest is not None
            there = self._estimate_at(latest, self._alignment)
            self._map_only.lead(stamp_ns, PosePrior(there.state.map_from_camera, there.covariance[:6, :6]))
            return
        sample = latest if latest is not None and latest.stamp_ns == stamp_ns else None
        self._map_only.advance(stamp_ns, sample, stands=self._odometry_lost is Reason.STANDING_STILL)
        self._take_map_only(stamp_ns)

    def _take_map_only(self, stamp_ns: int) -> None:
        """Set the output to the pose by the map alone, if there is one and it has none yet at this frame."""
        known = self._map_only.pose_at(stamp_ns)
        if known is None or self._output.pose_ns == stamp_ns:
            return
        if not self._output.has_begun and self._history.latest is None:
            self._first_fix = FirstFix(self._config, again=True)  # a camera that has a pose is already under way
        self._output.follow_map(known)

    def _why_no_pose(self) -> Reason:
        if self._odometry_lost is not None:
            return self._odometry_lost
        return self._first_fix.missing if self._alignment is None else Reason.NO_TRANSFORM
