"""The pose predicted through frames that were not followed, with its uncertainty."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import SE3, Array, carried_on
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.recent_motion import USUAL_ACCELERATION
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import covariance_of_doubt, move_covariance, pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, Reason, State, Support
from visloc_ros.fusion.config import StateConfig
from visloc_ros.fusion.health import PoseSupport, judge_pose

LONGEST_NS = 300_000_000  # for which a pose is carried on: a hand or a robot may move differently after it
_LONGEST_STEP = 4.0  # times the interval that the velocity is taken from
_MOST = 5.0  # usual accelerations, of a camera that is shaken by hand; images that leap back and forth show far more
_TRUST, _REMEMBERED = 2.0, 15.0  # predictions: those that the usual acceleration counts as, and those that are averaged
_SURE = 0.999  # of a difference that accelerations explain
_STATES = (State.LOCALIZED, State.DEGRADED, State.LOST)


@dataclass(frozen=True, eq=False)
class _Prediction:
    """``odom_from_camera`` at a stamp; ``growth`` is by how much an acceleration of 1 moves it.

    ``noise`` (6, 6) is what the error of the observed velocity has grown to.
    """

    odom_from_camera: SE3
    growth: float
    noise: Array


class CarriedMotion:
    """Carries the newest pose on at constant velocity; followed frames show the error by accelerations.

    The velocity is that between the last two frames that were followed. Where their motion was not measured it is
    unknown, and nothing is predicted.

    A motion that no acceleration so far explains is a leap: the camera has met with something, or its image is not of
    this time, or of another camera. It is no velocity, unless the next motions are like it. Poses are as uncertain as
    all leaps together until an anchor of a later image is found.
    """

    def __init__(self, limits: StateConfig) -> None:
        self._limits = limits
        self.reset()

    def reset(self) -> None:
        """Forget everything: stamps may start again."""
        self._known: deque[tuple[Estimate, SE3]] = deque(maxlen=2)
        self._squares, self._weights = np.zeros(2), np.zeros(2)
        self._leaps: SE3 | None = None  # takes poses in odom to where they would be in the map without them
        self._leapt_ns = 0  # stamp of the newest one
        self._before_leap: SE3 | None = None  # if the last motion was one
        self._is_new = False  # the velocity: that of a leap, as which the motion after it was

    def add(self, estimate: Estimate) -> Estimate:
        """Take the estimate of a frame that was followed; one without a pose ends the known motion.

        It is given back, as uncertain as the leaps since the newest anchor's image.
        """
        odom_from_camera, noise = estimate.odom_from_camera, estimate.motion_covariance
        predicted = self._predicted(estimate.stamp_ns)
        if estimate.age_ns is not None and estimate.stamp_ns - estimate.age_ns > self._leapt_ns:
            self._leaps = None
        if predicted is not None and odom_from_camera is not None and noise is not None:
            self._compare(estimate, odom_from_camera, noise, predicted)
        if noise is None:
            self._known.clear()
        if odom_from_camera is not None and estimate.covariance is not None:
            self._known.append((estimate, odom_from_camera))
        return self._widened(estimate)

    def at(self, stamp_ns: int, reason: Reason = Reason.OVERLOADED) -> Estimate | None:
        """The newest estimate carried on to a stamp for a reason; None where the motion is not known."""
        predicted = self._predicted(stamp_ns)
        if predicted is None:
            return None
        last, start = self._known[-1]
        passed_ns, step = stamp_ns - last.stamp_ns, predicted.odom_from_camera.translation - start.translation
        covariance = self._covariance(last, step, predicted)
        if covariance_fault(covariance) is not None:
            return None
        distance, age_ns = last.distance_since_fix, last.age_ns
        carried = replace(
            last,
            stamp_ns=stamp_ns,
            reason=last.reason or reason,
            odom_from_camera=predicted.odom_from_camera,
            covariance=covariance,
            age_ns=None if age_ns is None else age_ns + passed_ns,
            distance_since_fix=None if distance is None else distance + float(np.linalg.norm(step)),
            motion_covariance=None,
        )
        return self._widened(replace(carried, state=max(last.state, self._judged(carried), key=_STATES.index)))

    def _compare(self, estimate: Estimate, odom_from_camera: SE3, noise: Array, predicted: _Prediction) -> None:
        """Compare a motion with the predicted one: it is a leap, or shows the accelerations."""
        error = pose_difference(odom_from_camera, predicted.odom_from_camera)
        excess = self._excess(error, predicted, noise)
        self._learn(error / np.sqrt(max(1.0, excess)), predicted, noise)  # as much as is likely (Huber)
        if excess <= 1.0:
            self._leaps = None if self._is_new else self._leaps
            self._before_leap, self._is_new = None, False
        elif not self._goes_on_as_it_leapt(estimate.stamp_ns, odom_from_camera, noise):
            (last, start), leap = self._known[-1], predicted.odom_from_camera @ odom_from_camera.inverse
            self._known[-1] = last, leap.inverse @ start  # the velocity stays
            self._before_leap, self._is_new, self._leapt_ns = start, False, estimate.stamp_ns
            before = self._leaps or last.map_from_odom
            self._leaps = None if before is None else before @ leap
        together = self._together(estimate)
        if together is not None and estimate.covariance is not None:
            known = noise + estimate.covariance  # it led back, or followed map points do so in the map
            self._leaps = self._leaps if self._excess(together, predicted, known) > 1.0 else None

    def _goes_on_as_it_leapt(self, stamp_ns: int, odom_from_camera: SE3, noise: Array) -> bool:
        """Whether a motion is like the leap before it, which is a velocity from now on."""
        predicted = None if self._before_leap is None else self._predicted(stamp_ns, self._before_leap)
        if predicted is None:
            return False
        error = pose_difference(odom_from_camera, predicted.odom_from_camera)
        self._before_leap, self._is_new = None, self._excess(error, predicted, noise) <= 1.0
        return self._is_new

    def _excess(self, error: Array, predicted: _Prediction, noise: Array) -> float:
        """By how much the square of an error (6,) exceeds what accelerations and noise explain."""
        squared = float(error @ np.linalg.solve(self._growth(predicted) + noise, error))
        return squared / chi_square_quantile(_SURE, 6)

    def _predicted(self, stamp_ns: int, first: SE3 | None = None) -> _Prediction | None:
        """At a stamp, from the velocity since the frame before the last, or since another pose ``first`` there."""
        if len(self._known) < 2:
            return None
        (earlier, before), (last, second) = self._known
        first = first or before
        interval_ns, passed_ns = last.stamp_ns - earlier.stamp_ns, stamp_ns - last.stamp_ns
        if not 0 < passed_ns <= min(LONGEST_NS, _LONGEST_STEP * interval_ns) or interval_ns > LONGEST_NS:
            return None
        ratio = passed_ns / interval_ns
        assert last.motion_covariance is not None
        return _Prediction(
            carried_on(first, second, ratio),
            # The velocity is that of the middle of the interval.
            0.5 * passed_ns * (passed_ns + interval_ns) / NANOSECONDS**2,
            # The error of the last pose is in the velocity, too: both move the prediction the same way.
            ratio * (ratio + 1.0) * last.motion_covariance,
        )

    def _learn(self, error: Array, predicted: _Prediction, noise: Array) -> None:
        """Update the mean squares, a coordinate, of the linear and the angular acceleration, in usual ones.

        An error (6,) shows less of them the more noise is in it.
        """
        usual = np.square(USUAL_ACCELERATION * predicted.growth)
        noises = np.diag(predicted.noise + noise).reshape(2, 3).mean(axis=1) / usual
        squares = np.square(error).reshape(2, 3).mean(axis=1) / usual - noises
        weights, kept = np.square(1.0 / (1.0 + noises)), 1.0 - 1.0 / _REMEMBERED
        self._squares = kept * self._squares + weights * np.minimum(squares, _MOST**2)
        self._weights = kept * self._weights + weights

    def _covariance(self, last: Estimate, step: Array, predicted: _Prediction) -> Array:
        assert last.covariance is not None
        assert last.map_from_odom is not None
        moved = move_covariance(last.covariance, last.map_from_odom.rotation @ step)
        return np.asarray(moved + self._growth(predicted))

    def _growth(self, predicted: _Prediction) -> Array:
        """Covariance (6, 6) of a predicted motion: by the velocity's error and by the accelerations so far."""
        squares = (_TRUST + np.maximum(self._squares, 0.0)) / (_TRUST + self._weights)
        return predicted.noise + np.diag(np.repeat(squares * np.square(USUAL_ACCELERATION * predicted.growth), 3))

    def _widened(self, estimate: Estimate) -> Estimate:
        """An estimate that may be off by all leaps together."""
        error = self._together(estimate)
        if error is None or estimate.covariance is None:
            return estimate
        widened = replace(estimate, covariance=estimate.covariance + covariance_of_doubt(error))
        return replace(widened, state=max(estimate.state, self._judged(widened), key=_STATES.index))

    def _together(self, estimate: Estimate) -> Array | None:
        """All leaps together at the pose of an estimate: an error (6,); None without any."""
        pose, odom_from_camera = estimate.map_from_camera, estimate.odom_from_camera
        if self._leaps is None or pose is None or odom_from_camera is None:
            return None
        return pose_difference(pose, self._leaps @ odom_from_camera)

    def _judged(self, carried: Estimate) -> State:
        """State by what is known of the pose now; what contradicted the last one is in that one's state."""
        assert carried.covariance is not None
        is_tracked = carried.support is Support.MAP_TRACKING
        distance, age_ns = carried.distance_since_fix or 0.0, carried.age_ns or 0
        support = PoseSupport(distance, age_ns, carried.covariance, is_contradicted=False, is_tracked=is_tracked)
        return judge_pose(support, self._limits)
