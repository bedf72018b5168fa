"""The fuser: drifting odometry and late, sometimes wrong anchors in; one continuous pose with an honest state out.

An anchor meets the odometry of its own image, is gated against the prediction there, and joins the smoother. The
newest state of the smoother, carried along odometry to the present frame, is the aim that ``map_from_odom`` slews to.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Estimate, OdometryPose, Reason, Rejection, State
from visloc_ros.fusion.alignment import Alignment, PosePair, ScalePrior, align_robust
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.drift import pose_difference
from visloc_ros.fusion.health import Evidence, judge_absence, judge_pose, reason_for
from visloc_ros.fusion.history import OdometryHistory, Sample
from visloc_ros.fusion.output import SmoothOutput
from visloc_ros.fusion.smoother import FixedLagSmoother
from visloc_ros.fusion.window import Fix, make_fix

ACCEPTED = "ACCEPTED"
MAX_PENDING = 16


class Fuser:
    """Joins odometry and anchors. One thread at a time; ``metric`` tells whether the map is in metres.

    Odometry that restarts in a new segment has a scale of its own: poses stop until anchors align it again, and
    ``odom_from_camera`` then continues from its last value.
    """

    def __init__(self, config: FusionConfig, metric: bool) -> None:
        self._config = config
        self.metric = metric
        self._threshold = chi_square_quantile(config.gate.probability, 6)
        self._counts: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forget everything but the counts: after a clock jump, or to be localized anew."""
        self._history = OdometryHistory(self._config.history_s, self._config.max_gap_s)
        self._smoother: FixedLagSmoother | None = None
        self._output: SmoothOutput | None = None
        self._candidates: list[Fix] = []
        self._pending: deque[AnchorPose] = deque(maxlen=MAX_PENDING)
        self._hint: SE3 | None = None
        self._newest_ns: int | None = None
        self._last_pose_ns: int | None = None
        self._odometry_lost: Reason | None = None
        self._no_fix = Reason.SCALE_UNSET
        self._refused_in_a_row = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """How many anchors were accepted, and how many refused for each reason."""
        return dict(self._counts)

    @property
    def raw_map_from_odom(self) -> SE3 | None:
        """The correction as the newest anchors would have it, before slewing."""
        return self._output.raw_map_from_odom if self._output is not None and self._smoother is not None else None

    def set_initial_pose(self, map_from_camera: SE3) -> None:
        """Take a hint (``/initialpose``, the last run): a prior for the search, never an output."""
        self._hint = map_from_camera

    def add_odometry(self, result: OdometryPose | Rejection) -> None:
        """Take the odometry of the next frame.

        Unordered frames are dropped; stamps running back by more than ``clock_jump_s`` reset everything.
        """
        if not self._is_next(result.stamp_ns):
            return
        self._newest_ns = result.stamp_ns
        if isinstance(result, Rejection):
            self._odometry_lost = result.reason
        elif not _is_pose(result.odom_from_camera):
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

    def predict(self, stamp_ns: int) -> SE3 | None:
        """``map_from_camera`` to search around for an image; before the first fix the hint, None when LOST."""
        if self._smoother is None:
            return self._hint
        sample = self._history.at(stamp_ns)
        if sample is None or not self._is_current(sample):
            return None
        there = self._smoother.at(sample)
        evidence = self._evidence(self._smoother, sample, there.covariance)
        return None if judge_pose(evidence, self._config.state) is State.LOST else there.state.map_from_camera

    def estimate(self, stamp_ns: int) -> Estimate:
        """The fused answer for the newest frame; other stamps, and frames without odometry, have no pose.

        A LOST estimate may still carry its pose: its covariance tells how far it can be off.
        """
        sample = self._history.latest
        if self._smoother is None or self._output is None or sample is None or sample.stamp_ns != stamp_ns:
            return self._absence(stamp_ns)
        now, remaining = self._smoother.at(sample), self._output.remaining
        covariance = now.covariance[:6, :6] + np.outer(remaining, remaining)
        evidence = self._evidence(self._smoother, sample, covariance)
        state = judge_pose(evidence, self._config.state)
        return Estimate(
            stamp_ns,
            state,
            reason=reason_for(state, evidence),
            map_from_odom=self._output.map_from_odom,
            odom_from_camera=self._output.odom_from_camera,
            covariance=covariance,
            scale=now.state.scale,
            metric=self.metric,
            age_ns=evidence.age_ns,
            distance_since_fix=evidence.distance,
        )

    def _is_next(self, stamp_ns: int) -> bool:
        if self._newest_ns is None or stamp_ns > self._newest_ns:
            return True
        if self._newest_ns - stamp_ns > self._config.clock_jump_s * NANOSECONDS:
            self.reset()
            return True
        return False

    def _advance(self, pose: OdometryPose) -> None:
        previous = self._history.latest
        sample = self._history.append(pose)
        if previous is not None and previous.segment != sample.segment:
            self._begin_segment()
        if self._smoother is None or self._output is None or previous is None:
            return
        leg = previous.leg_to(sample)
        scale = self._smoother.latest_state.scale
        self._output = self._output.advanced(leg.camera_from_camera, scale).slewed(leg.seconds, self._config.slew)
        self._last_pose_ns = sample.stamp_ns

    def _begin_segment(self) -> None:
        self._smoother = None
        self._candidates = []
        self._no_fix = Reason.SCALE_UNSET
        self._refused_in_a_row = 0

    def _take_pending(self) -> None:
        """Judge anchors that were faster than their odometry."""
        waiting, self._pending = self._pending, deque(maxlen=MAX_PENDING)
        for anchor in waiting:
            verdict = self._judge(anchor)
            if verdict is not None:
                self._counts[ACCEPTED] -= 1
                self._counts[verdict.reason.value] += 1

    def _judge(self, anchor: AnchorPose) -> Rejection | None:
        if not _is_anchor(anchor):
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
        return self._seek_start(fix) if self._smoother is None else self._join(self._smoother, fix)

    def _is_current(self, sample: Sample) -> bool:
        latest = self._history.latest
        return latest is not None and latest.segment == sample.segment

    def _reaches(self, sample: Sample) -> bool:
        return self._smoother is None or self._smoother.reaches(sample.stamp_ns)

    def _seek_start(self, fix: Fix) -> Rejection | None:
        """Keep the anchor until enough of them agree and the camera has moved enough to know the scale."""
        self._remember(fix)
        alignment = align_robust([_pair(known) for known in self._candidates], self._config.alignment)
        if isinstance(alignment, Rejection):
            self._no_fix = alignment.reason
            return None
        agreeing = self._agreeing(alignment)
        self._begin_at(FixedLagSmoother(self._config, agreeing, alignment.map_from_odom))
        return None if fix in agreeing else _disagreement(fix, agreeing=len(agreeing))

    def _join(self, smoother: FixedLagSmoother, fix: Fix) -> Rejection | None:
        verdict = self._gate(smoother, fix)
        if verdict is None:
            smoother.insert(fix)
            self._refused_in_a_row = 0
            self._aim(smoother)
            return None
        self._refused_in_a_row += 1
        self._remember(fix)
        return None if self._moved_elsewhere(smoother, fix) else verdict

    def _gate(self, smoother: FixedLagSmoother, fix: Fix) -> Rejection | None:
        predicted = smoother.at(fix.sample)
        error = pose_difference(fix.anchor.map_from_camera, predicted.state.map_from_camera)
        tolerance = self._config.alignment
        slack = np.repeat([tolerance.position_tolerance**2, np.deg2rad(tolerance.rotation_tolerance_deg) ** 2], 3)
        expected = predicted.covariance[:6, :6] + smoother.anchor_inflation.inflate(fix.covariance) + np.diag(slack)
        squared = float(error @ np.linalg.solve(expected, error))
        if squared <= self._threshold:
            return None
        distance, angle = float(np.linalg.norm(error[:3])), float(np.degrees(np.linalg.norm(error[3:])))
        return _disagreement(fix, chi_square=squared, distance=distance, angle_deg=angle)

    def _moved_elsewhere(self, smoother: FixedLagSmoother, fix: Fix) -> bool:
        """Move the fix where enough refused anchors agree: a kidnapped camera, slipped odometry, or a wrong start."""
        prior = ScalePrior(smoother.latest_state.log_scale, self._config.gate.relocation_scale_sigma)
        alignment = align_robust([_pair(known) for known in self._candidates], self._config.alignment, prior)
        if isinstance(alignment, Rejection):
            return False
        agreeing = self._agreeing(alignment)
        contradicting = smoother.count_since(agreeing[0].stamp_ns)
        needed = self._config.gate.relocation_anchors + contradicting
        if fix not in agreeing or len(agreeing) < needed:
            return False
        self._begin_at(FixedLagSmoother(self._config, agreeing, alignment.map_from_odom, prior.sigma))
        return True

    def _remember(self, fix: Fix) -> None:
        self._candidates = sorted([*self._candidates, fix], key=lambda known: known.stamp_ns)
        self._candidates = self._candidates[-self._config.alignment.max_candidates :]

    def _agreeing(self, alignment: Alignment) -> Sequence[Fix]:
        return [fix for fix, good in zip(self._candidates, alignment.inliers, strict=True) if good]

    def _begin_at(self, smoother: FixedLagSmoother) -> None:
        self._smoother = smoother
        self._candidates = []
        self._hint = None
        self._refused_in_a_row = 0
        self._aim(smoother)

    def _aim(self, smoother: FixedLagSmoother) -> None:
        """Point the output at the newest estimate; where there was no pose before, go there at once."""
        latest = self._history.latest
        if latest is None:
            return
        aim = smoother.at(latest).state.map_from_camera
        self._output = (self._output or SmoothOutput.begin(aim)).corrected(aim)
        if self._last_pose_ns != latest.stamp_ns:
            self._output = self._output.stepped()
            self._last_pose_ns = latest.stamp_ns

    def _evidence(self, smoother: FixedLagSmoother, sample: Sample, covariance: Array) -> Evidence:
        travelled = smoother.latest_state.scale * smoother.latest_fix.sample.leg_to(sample).path
        sigma = float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1]))
        doubted = self._refused_in_a_row >= self._config.gate.doubt_anchors
        return Evidence(travelled, sample.stamp_ns - smoother.latest_fix.stamp_ns, sigma, doubted)

    def _absence(self, stamp_ns: int) -> Estimate:
        """Estimate without a pose, and why there is none."""
        if self._newest_ns is None:
            return Estimate(stamp_ns, State.UNINITIALIZED, Reason.NO_TRANSFORM)
        if self._last_pose_ns is None:
            return Estimate(stamp_ns, State.INITIALIZING, self._why_absent())
        state = judge_absence(stamp_ns - self._last_pose_ns, self._config.state)
        return Estimate(stamp_ns, state, self._why_absent())

    def _why_absent(self) -> Reason:
        if self._odometry_lost is not None:
            return self._odometry_lost
        return self._no_fix if self._smoother is None else Reason.NO_TRANSFORM


def _pair(fix: Fix) -> PosePair:
    return PosePair(
        fix.stamp_ns,
        fix.anchor.map_from_camera,
        fix.sample.odom_from_camera,
        fix.covariance,
        fix.anchor.num_inliers,
    )


def _disagreement(fix: Fix, **counts: float) -> Rejection:
    return Rejection(fix.stamp_ns, Reason.ODOMETRY_DISAGREES, counts)


def _is_pose(pose: SE3) -> bool:
    finite = np.all(np.isfinite(pose.rotation)) and np.all(np.isfinite(pose.translation))
    return bool(finite and np.allclose(pose.rotation.T @ pose.rotation, np.eye(3), atol=1e-6))


def _is_anchor(anchor: AnchorPose) -> bool:
    covariance: Array = np.asarray(anchor.covariance, dtype=np.float64)
    if not _is_pose(anchor.map_from_camera) or covariance.shape != (6, 6) or not np.all(np.isfinite(covariance)):
        return False
    symmetric = np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-12)
    return bool(symmetric and np.linalg.eigvalsh(covariance)[0] >= -1e-12)
