"""An estimator that never breaks: numerical failures become refusals with their reason, and a fresh start."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import is_plausible_covariance, is_plausible_pose
from visloc_ros.core.types import (
    AnchorPose,
    Estimate,
    LoopClosure,
    OdometryPose,
    Reason,
    Rejection,
    TrackedPose,
)
from visloc_ros.fusion.estimator import Estimator
from visloc_ros.fusion.initialization.pose_prior import PosePrior
from visloc_ros.fusion.innovation import Innovation

_log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
OtherT = TypeVar("OtherT")

# What linear algebra and arithmetic raise on numbers that they cannot take (LinAlgError is a ValueError).
NUMERICAL_ERRORS = (ArithmeticError, ValueError)


class ContainedEstimator:
    """Passes everything on to another estimator, and starts that anew when its numbers have broken down.

    Implements ``Estimator``. ``failures`` counts how often that was.
    """

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self.failures = 0

    @property
    def metric(self) -> bool:
        """Whether the map is in metres."""
        return self._estimator.metric

    @metric.setter
    def metric(self, value: bool) -> None:
        self._estimator.metric = value

    @property
    def gravity_aligned(self) -> bool:
        """Whether the map's z axis points up."""
        return self._estimator.gravity_aligned

    @gravity_aligned.setter
    def gravity_aligned(self, value: bool) -> None:
        self._estimator.gravity_aligned = value

    def reset(self) -> None:
        """Forget everything but the counts."""
        self._estimator.reset()

    def restart(self) -> None:
        """Forget all measurements but not where the odometry's frame is."""
        self._estimator.restart()

    def relocalize(self) -> None:
        """Forget where the camera is in the map."""
        self._estimator.relocalize()

    def add_odometry(self, result: OdometryPose | Rejection) -> None:
        """Take the odometry of the next frame."""
        self._attempt(lambda: self._estimator.add_odometry(result), None)

    def add_anchor(self, result: AnchorPose | Rejection) -> Rejection | None:
        """Take an anchor."""
        return self._attempt(lambda: self._estimator.add_anchor(result), _broken(result.stamp_ns))

    def add_tracked(self, result: TrackedPose | Rejection) -> Rejection | None:
        """Take the pose of a frame from followed map points."""
        return self._attempt(lambda: self._estimator.add_tracked(result), _broken(result.stamp_ns))

    def add_loop(self, loop: LoopClosure) -> Rejection | None:
        """Take a loop that odometry closed."""
        return self._attempt(lambda: self._estimator.add_loop(loop), _broken(loop.later_ns))

    def set_initial_pose(self, stamp_ns: int, map_from_camera: SE3, covariance: Array) -> bool:
        """Take a prior for the search."""
        return self._attempt(lambda: self._estimator.set_initial_pose(stamp_ns, map_from_camera, covariance), False)

    def predict(self, stamp_ns: int) -> SE3 | None:
        """``map_from_camera`` to search around for an image."""
        return self._attempt(lambda: _sound_pose(self._estimator.predict(stamp_ns)), None)

    def awaits_tracking(self, stamp_ns: int) -> bool:
        """Whether the pose of the newest frame comes with its tracked map points."""
        return self._estimator.awaits_tracking(stamp_ns)

    def estimate(self, stamp_ns: int) -> Estimate:
        """The answer for the newest frame; after a failure one without a pose."""
        estimate = self._attempt(lambda: _sound(self._estimator.estimate(stamp_ns)), None)
        return self._estimator.estimate(stamp_ns) if estimate is None else estimate

    def take_innovations(self) -> Sequence[Innovation]:
        """The innovations since the last call."""
        return self._estimator.take_innovations()

    @property
    def raw_map_from_odom(self) -> SE3 | None:
        """The correction by the newest estimate, before slewing."""
        return self._attempt(lambda: _sound_pose(self._estimator.raw_map_from_odom), None)

    @property
    def pose_prior(self) -> PosePrior | None:
        """The pose prior at the newest frame."""
        return self._attempt(lambda: self._estimator.pose_prior, None)

    @property
    def search_prior(self) -> PosePrior | None:
        """Where to search for the newest frame before the first fix."""
        return self._attempt(lambda: self._estimator.search_prior, None)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many anchors were accepted, and how many refused for each reason."""
        return self._estimator.counts

    @property
    def tracked_counts(self) -> Mapping[str, int]:
        """The same of poses from followed map points."""
        return self._estimator.tracked_counts

    @property
    def loop_counts(self) -> Mapping[str, int]:
        """The same of loops."""
        return self._estimator.loop_counts

    def _attempt(self, call: Callable[[], ResultT], otherwise: OtherT) -> ResultT | OtherT:
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                return call()
        except NUMERICAL_ERRORS as error:
            self.failures += 1
            trace = "".join(traceback.format_exception(error))
            _log.error("the estimate broke down numerically (%s) and begins anew\n%s", error, trace)
            self._estimator.restart()
            return otherwise


def _broken(stamp_ns: int) -> Rejection:
    return Rejection(stamp_ns, Reason.INTERNAL_ERROR)


def _sound(estimate: Estimate) -> Estimate:
    """The same. Raises ArithmeticError where its numbers cannot be."""
    _sound_pose(estimate.map_from_odom)
    _sound_pose(estimate.odom_from_camera)
    if estimate.covariance is not None and not is_plausible_covariance(estimate.covariance):
        raise ArithmeticError("the covariance of the pose is none")
    return estimate


def _sound_pose(pose: SE3 | None) -> SE3 | None:
    """The same. Raises ArithmeticError for a pose that cannot be."""
    if pose is not None and not is_plausible_pose(pose):
        raise ArithmeticError("the pose is absurd")
    return pose
