"""The pose predicted through frames that were not followed, with its uncertainty."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from visloc_ros.core.geometry import SE3, Array, carried_on
from visloc_ros.core.tangent import move_covariance, pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, Reason

LONGEST_NS = 300_000_000  # for which a pose is carried on: a hand or a robot may move differently after it
_LONGEST_STEP = 4.0  # times the interval that the velocity is taken from
_FEWEST, _REMEMBERED = 3, 15  # predictions: the least for an estimate of accelerations, the most in its mean


class CarriedMotion:
    """Carries the newest pose on at constant velocity; followed frames show the error by accelerations."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything: stamps may start again."""
        self._known: deque[tuple[Estimate, SE3]] = deque(maxlen=2)
        self._accelerations, self._count = np.zeros(2), 0

    def add(self, estimate: Estimate) -> None:
        """Take the estimate of a frame that was followed; one without a pose ends the known motion."""
        odom_from_camera = estimate.odom_from_camera
        if odom_from_camera is None or estimate.covariance is None:
            self._known.clear()
            return
        predicted = self._predicted(estimate.stamp_ns)
        if predicted is not None:
            self._learn(odom_from_camera, *predicted)
        self._known.append((estimate, odom_from_camera))

    def at(self, stamp_ns: int) -> Estimate | None:
        """The newest estimate carried on to a stamp, with reason OVERLOADED; None where the motion is not known."""
        predicted = self._predicted(stamp_ns)
        if predicted is None or self._count < _FEWEST:
            return None
        (last, before), (odom_from_camera, growth) = self._known[-1], predicted
        passed_ns, step = stamp_ns - last.stamp_ns, odom_from_camera.translation - before.translation
        distance, age_ns = last.distance_since_fix, last.age_ns
        return replace(
            last,
            stamp_ns=stamp_ns,
            reason=last.reason or Reason.OVERLOADED,
            odom_from_camera=odom_from_camera,
            covariance=self._covariance(last, step, growth),
            age_ns=None if age_ns is None else age_ns + passed_ns,
            distance_since_fix=None if distance is None else distance + float(np.linalg.norm(step)),
        )

    def _predicted(self, stamp_ns: int) -> tuple[SE3, float] | None:
        """``odom_from_camera`` at a stamp, and by how much an acceleration of 1 moves it."""
        if len(self._known) < 2:
            return None
        (earlier, first), (last, second) = self._known
        interval_ns, passed_ns = last.stamp_ns - earlier.stamp_ns, stamp_ns - last.stamp_ns
        if not 0 < passed_ns <= min(LONGEST_NS, _LONGEST_STEP * interval_ns) or interval_ns > LONGEST_NS:
            return None
        # The velocity is that of the middle of the interval.
        growth = 0.5 * passed_ns * (passed_ns + interval_ns) / NANOSECONDS**2
        return carried_on(first, second, passed_ns / interval_ns), growth

    def _learn(self, odom_from_camera: SE3, predicted: SE3, growth: float) -> None:
        """Update the mean squares, a coordinate, of the linear and the angular acceleration."""
        error = pose_difference(odom_from_camera, predicted).reshape(2, 3) / growth
        self._count = min(self._count + 1, _REMEMBERED)
        self._accelerations += (np.square(error).mean(axis=1) - self._accelerations) / self._count

    def _covariance(self, last: Estimate, step: Array, growth: float) -> Array | None:
        if last.covariance is None or last.map_from_odom is None:
            return None
        moved = move_covariance(last.covariance, last.map_from_odom.rotation @ step)
        return np.asarray(moved + np.diag(np.repeat(self._accelerations, 3)) * growth**2)
