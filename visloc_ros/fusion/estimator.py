"""Estimates the pose of a frame from odometry and anchors, or from one of them; it survives numerical failures."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, TypeVar

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import covariance_fault, is_plausible_pose
from visloc_ros.core.types import (
    ACCEPTED,
    PENDING,
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
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.pose_prior import PosePrior
from visloc_ros.fusion.innovation import Innovation

_log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
OtherT = TypeVar("OtherT")

# Errors of linear algebra and arithmetic on unsuitable numbers (LinAlgError is a ValueError).
NUMERICAL_ERRORS = (ArithmeticError, ValueError)


class Estimator:
    """Judges each measurement, and estimates the pose of the newest frame; one thread at a time.

    ``metric`` says whether the map is in metres, ``gravity_aligned`` whether its z axis points up. ``counts`` are the
    numbers of anchors accepted, and refused for each reason; ``tracked_counts`` those of poses from followed map
    points, ``loop_counts`` those of loops.

    A subclass overrides the methods that begin with an underscore; measurements that it does not use are refused
    with the reason ``missing``. A numerical failure gives the refusal INTERNAL_ERROR, and all measurements are
    forgotten; ``failures`` counts these.
    """

    missing: ClassVar[Reason] = Reason.INTERNAL_ERROR

    def __init__(self, config: FusionConfig, metric: bool, gravity_aligned: bool = False) -> None:
        self._config = config
        self.metric = metric
        self.gravity_aligned = gravity_aligned
        self.failures = 0
        self.counts: Counter[str] = Counter()
        self.tracked_counts: Counter[str] = Counter()
        self.loop_counts: Counter[str] = Counter()
        self._settled: list[tuple[AnchorPose, Verdict]] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything but the counts: after a jump of the clock."""

    def restart(self) -> None:
        """Forget all measurements but not where the odometry's frame is: after a numerical failure."""
        self.reset()

    def relocalize(self) -> None:
        """Forget where the camera is in the map; the odometry and its frame go on."""

    def change_camera(self, camera_from_other: SE3 | None) -> None:
        """Follow another camera of the same body from the next frame on; None where their places are not known."""

    def add_odometry(self, result: OdometryPose | Rejection) -> None:
        """Take the odometry of the next frame; stamps increase until ``reset``."""
        self._attempt(lambda: self._take_odometry(result), None)

    def add_anchor(self, result: AnchorPose | Rejection) -> Verdict:
        """Judge an anchor, however late; ``take_settled`` gives the verdict on one that is PENDING."""
        if isinstance(result, Rejection):
            verdict: Verdict = result
        else:
            verdict = self._attempt(partial(self._judge_anchor, result), _broken(result.stamp_ns))
        self._count(self.counts, verdict)
        return verdict

    def add_tracked(self, result: TrackedPose | Rejection) -> Verdict:
        """Judge the pose of a frame from map points followed since an anchor."""
        if isinstance(result, Rejection):
            verdict: Verdict = result
            self._attempt(partial(self._miss_tracked, result), None)
        else:
            verdict = self._attempt(partial(self._judge_tracked, result), _broken(result.stamp_ns))
        self._count(self.tracked_counts, verdict)
        return verdict

    def add_loop(self, loop: LoopClosure) -> Verdict:
        """Judge a loop that odometry closed."""
        verdict = self._attempt(lambda: self._judge_loop(loop), _broken(loop.later_ns))
        self._count(self.loop_counts, verdict)
        return verdict

    def take_settled(self) -> Sequence[tuple[AnchorPose, Verdict]]:
        """Anchors that were PENDING and have been accepted or refused since the last call."""
        settled, self._settled = self._settled, []
        return settled

    def set_initial_pose(self, stamp_ns: int, map_from_camera: SE3, covariance: Array) -> bool:
        """Take a prior for the search; False where the known pose agrees with it, so that it is not needed."""
        return self._attempt(lambda: self._set_initial_pose(stamp_ns, map_from_camera, covariance), False)

    def predict(self, stamp_ns: int) -> SE3 | None:
        """``map_from_camera`` to search around for an image; None where nothing is known."""
        return self._attempt(lambda: _sound_pose(self._predict(stamp_ns)), None)

    def awaits_tracking(self, stamp_ns: int) -> bool:
        """Whether the pose of the newest frame comes with its tracked map points, if these are found."""
        return False

    def estimate(self, stamp_ns: int) -> Estimate:
        """The answer for the newest frame; after a failure one without a pose."""
        estimate = self._attempt(lambda: _sound(self._estimate(stamp_ns)), None)
        return self._estimate(stamp_ns) if estimate is None else estimate

    def take_innovations(self) -> Sequence[Innovation]:
        """Innovations of anchors and tracked poses since the last call."""
        return ()

    @property
    def raw_map_from_odom(self) -> SE3 | None:
        """The correction by the newest estimate, before slewing."""
        return self._attempt(lambda: _sound_pose(self._raw_map_from_odom()), None)

    @property
    def pose_prior(self) -> PosePrior | None:
        """The pose prior at the newest frame; None without one, after a fix, or once it has become too uncertain."""
        return self._attempt(self._pose_prior_now, None)

    @property
    def search_prior(self) -> PosePrior | None:
        """Prior of a search for the newest frame before the first fix."""
        return self._attempt(self._search_prior_now, None)

    def _take_odometry(self, result: OdometryPose | Rejection) -> None:
        pass

    def _judge_anchor(self, anchor: AnchorPose) -> Verdict:
        return Rejection(anchor.stamp_ns, self.missing)

    def _judge_tracked(self, tracked: TrackedPose) -> Verdict:
        return Rejection(tracked.stamp_ns, self.missing)

    def _miss_tracked(self, rejection: Rejection) -> None:
        """Go on without the map points of a frame, which were not found."""

    def _judge_loop(self, loop: LoopClosure) -> Verdict:
        return Rejection(loop.later_ns, self.missing)

    def _set_initial_pose(self, stamp_ns: int, map_from_camera: SE3, covariance: Array) -> bool:
        return False

    def _predict(self, stamp_ns: int) -> SE3 | None:
        return None

    def _estimate(self, stamp_ns: int) -> Estimate:
        return Estimate(stamp_ns, State.UNINITIALIZED, self.missing)

    def _raw_map_from_odom(self) -> SE3 | None:
        return None

    def _pose_prior_now(self) -> PosePrior | None:
        return None

    def _search_prior_now(self) -> PosePrior | None:
        return None

    def _settle(self, anchor: AnchorPose, verdict: Verdict) -> None:
        """Note the verdict on an anchor that was PENDING."""
        if verdict is not PENDING:
            self._settled.append((anchor, verdict))
            self._count(self.counts, verdict)

    @staticmethod
    def _count(counts: Counter[str], verdict: Verdict) -> None:
        if verdict is not PENDING:
            counts[verdict.reason.value if isinstance(verdict, Rejection) else ACCEPTED.value] += 1

    def _attempt(self, call: Callable[[], ResultT], otherwise: OtherT) -> ResultT | OtherT:
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                return call()
        except NUMERICAL_ERRORS as error:
            self.failures += 1
            trace = "".join(traceback.format_exception(error))
            _log.error("the estimate broke down numerically (%s) and starts again\n%s", error, trace)
            self.restart()
            return otherwise


def _broken(stamp_ns: int) -> Rejection:
    return Rejection(stamp_ns, Reason.INTERNAL_ERROR)


def _sound(estimate: Estimate) -> Estimate:
    """The same. Raises ArithmeticError on impossible numbers."""
    _sound_pose(estimate.map_from_odom)
    _sound_pose(estimate.odom_from_camera)
    for covariance, is_part in ((estimate.covariance, False), (estimate.motion_covariance, True)):
        fault = None if covariance is None else covariance_fault(covariance, is_part=is_part)
        if fault is not None:
            raise ArithmeticError(f"the {'motion' if is_part else 'pose'} has no covariance: {fault}")
    return estimate


def _sound_pose(pose: SE3 | None) -> SE3 | None:
    """The same. Raises ArithmeticError for an impossible pose."""
    if pose is not None and not is_plausible_pose(pose):
        raise ArithmeticError("the pose is absurd")
    return pose
