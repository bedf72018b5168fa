"""The camera's rotation by a gyroscope, whose bias is learned from the rotation by the images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from visloc_ros.core.geometry import Array, rotation_matrix, rotation_vector
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose
from visloc_ros.odometry.sample_buffer import SampleBuffer

Turns = Callable[[int, int], Array | None]
"""Gives the camera's rotation ``later_from_earlier`` (3, 3) between two stamps in ns, or None while it is unknown."""

_KEEP_S = 10.0
_LONGEST_GAP_NS = NANOSECONDS // 10  # between samples
_LONGEST_LEAD_NS = NANOSECONDS // 20  # for which the newest sample is extrapolated

_COMPARED_NS = (NANOSECONDS // 2, 2 * NANOSECONDS)  # shortest and longest time that images and gyroscope are compared
_VISUAL_SIGMA = 0.003  # rad, of the rotation between two frames
_FIRST_BIAS_SIGMA = 0.1  # rad/s, as consumer gyroscopes have it
_BIAS_WALK = 5e-4  # rad/s in the root of a second
_OUTLIER_DEVIATIONS = 3.0

_SIGNIFICANT_TURN = 0.05  # rad, from which a turn can show that the axes are wrong
_WRONG_SHARE = 0.4  # of a turn, that the gyroscope and the images may not differ by
_MOST_DOUBTS = 3


def unknown_turn(begin_ns: int, end_ns: int) -> Array | None:
    """Turns without a gyroscope: unknown."""
    return None


class _Seen(NamedTuple):
    """Orientation ``odom_from_camera`` (3, 3) by the images."""

    stamp_ns: int
    segment: int
    rotation: Array


class Gyroscope:
    """Angular rates (3,) in rad/s in the axes of the camera. ``add`` may be called from another thread.

    While the images keep contradicting it (wrong axes, wrong clock) it predicts nothing.
    """

    def __init__(self) -> None:
        self.samples: SampleBuffer[Array] = SampleBuffer(_KEEP_S)
        self.bias: Array = np.zeros(3)
        self._variance = _FIRST_BIAS_SIGMA**2
        self._doubts = 0
        self.forget_views()

    @property
    def is_trusted(self) -> bool:
        """Whether it agrees with the images."""
        return self._doubts < _MOST_DOUBTS

    @property
    def bias_sigma(self) -> float:
        """Standard deviation in rad/s of the bias about each axis."""
        return float(np.sqrt(self._variance))

    def turn(self, begin_ns: int, end_ns: int) -> Array | None:
        """Rotation ``later_from_earlier`` (3, 3) of the camera between two stamps; None where samples are missing.

        The newest rate is extrapolated by 50 ms, for late samples.
        """
        return self._integrate(begin_ns, end_ns) if self.is_trusted else None

    def learn(self, pose: OdometryPose) -> None:
        """Compare with the rotation by the images, as far as samples have arrived."""
        newest_ns = self.samples.newest_ns
        if newest_ns is None:
            return
        self._seen.append(_Seen(pose.stamp_ns, pose.segment, pose.odom_from_camera.rotation))
        while self._seen and self._seen[0].stamp_ns <= newest_ns:
            self._compare(self._seen.popleft())

    def forget_views(self) -> None:
        """Start again with the images; the bias stays."""
        self._seen: deque[_Seen] = deque(maxlen=256)
        self._begin: _Seen | None = None

    def _integrate(self, begin_ns: int, end_ns: int) -> Array | None:
        samples = self.samples.around(begin_ns, end_ns)
        if not samples or samples[0][0] > begin_ns or end_ns - samples[-1][0] > _LONGEST_LEAD_NS:
            return None
        stamps_ns = np.array([stamp_ns for stamp_ns, _ in samples], dtype=np.int64)
        if np.any(np.diff(stamps_ns) > _LONGEST_GAP_NS):
            return None
        inside = stamps_ns[(stamps_ns > begin_ns) & (stamps_ns < end_ns)]
        knots = np.concatenate([[begin_ns], inside, [end_ns]])
        rates = np.array([rate for _, rate in samples]) - self.bias
        seconds, knot_seconds = ((stamps - begin_ns) / NANOSECONDS for stamps in (stamps_ns, knots))
        at_knots = np.stack([np.interp(knot_seconds, seconds, rates[:, axis]) for axis in range(3)], axis=1)
        steps = 0.5 * (at_knots[1:] + at_knots[:-1]) * np.diff(knot_seconds)[:, None]
        return _product(rotation_matrix(steps)).T

    def _compare(self, seen: _Seen) -> None:
        begin = self._begin
        if begin is None or begin.segment != seen.segment or seen.stamp_ns - begin.stamp_ns > _COMPARED_NS[1]:
            self._begin = seen
            return
        if seen.stamp_ns - begin.stamp_ns < _COMPARED_NS[0]:
            return
        self._begin = seen
        turn = self._integrate(begin.stamp_ns, seen.stamp_ns)
        if turn is not None:
            visual = seen.rotation.T @ begin.rotation
            seconds = (seen.stamp_ns - begin.stamp_ns) / NANOSECONDS
            self._judge(turn, visual)
            self._correct(rotation_vector(visual @ turn.T) / seconds, seconds)

    def _judge(self, turn: Array, visual: Array) -> None:
        angle = float(np.linalg.norm(rotation_vector(visual)))
        if angle < _SIGNIFICANT_TURN:
            return
        is_wrong = np.linalg.norm(rotation_vector(visual @ turn.T)) > _WRONG_SHARE * angle
        self._doubts = min(2 * _MOST_DOUBTS, self._doubts + 1) if is_wrong else max(0, self._doubts - 1)

    def _correct(self, excess: Array, seconds: float) -> None:
        """Kalman step with the rate error (3,) of the gyroscope; outliers count less (Huber)."""
        self._variance += _BIAS_WALK**2 * seconds
        noise = (_VISUAL_SIGMA / seconds) ** 2
        deviations = float(np.linalg.norm(excess)) / np.sqrt(self._variance + noise)
        if deviations > _OUTLIER_DEVIATIONS:
            noise = (self._variance + noise) * (deviations / _OUTLIER_DEVIATIONS) ** 2
        gain = self._variance / (self._variance + noise)
        self.bias = self.bias + gain * excess
        self._variance *= 1.0 - gain


def _product(matrices: Array) -> Array:
    """The product (3, 3) of matrices (N, 3, 3) in their order, N >= 1."""
    while len(matrices) > 1:
        if len(matrices) % 2:
            matrices = np.concatenate([matrices, np.eye(3)[None]])
        matrices = matrices[0::2] @ matrices[1::2]
    return np.asarray(matrices[0])
