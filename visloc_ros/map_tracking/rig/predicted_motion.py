"""How the leading camera moved around the stamps of its frames, by their predicted poses, with the covariance."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np

from visloc_ros.core.geometry import SE3, Array, carried_on
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS

_OLDEST_NS = NANOSECONDS // 2  # of an image: then its camera is unplugged
_KEPT = 64  # poses
_REMEMBERED = 15.0  # frames over which the errors are averaged
_FEWEST = 4.0  # errors from which a mean is known
_FARTHEST_AHEAD = 0.5  # of an interval between frames that the motion is carried on


class PredictedMotion:
    """Interpolates predicted poses ``map_from_camera``; each pose shows how wrong its neighbours' middle was.

    That error is of the odometry and of the acceleration; both are taken to be as large as all of it.
    """

    def __init__(self) -> None:
        self._poses: deque[tuple[int, SE3]] = deque(maxlen=_KEPT)
        self._squares, self._weight = np.zeros(2), 0.0  # of the position and of the rotation, a coordinate

    def reset(self) -> None:
        """Forget everything: stamps may start again, or poses be of another camera."""
        self._poses.clear()
        self._squares, self._weight = np.zeros(2), 0.0

    def add(self, stamp_ns: int, predicted: SE3 | None) -> None:
        """Take the predicted pose of the next frame; without one the motion ends."""
        if predicted is None or (self._poses and stamp_ns <= self._poses[-1][0]):
            self._poses.clear()
        if predicted is None:
            return
        self._poses.append((stamp_ns, predicted))
        if len(self._poses) >= 3:
            self._learn(*list(self._poses)[-3:])

    def since(self, then_ns: int, now_ns: int) -> tuple[SE3, Array] | None:
        """``camera_now_from_camera_then`` and its covariance (6, 6) about the axes of the camera now; None if unknown.

        ``now_ns`` is the stamp of the newest frame.
        """
        if then_ns == now_ns:
            return SE3.identity(), np.zeros((6, 6))
        if not self._poses or self._poses[-1][0] != now_ns or now_ns - then_ns > _OLDEST_NS:
            return None
        if self._weight < _FEWEST:
            return None
        pair = self._around(then_ns)
        if pair is None:
            return None
        (before_ns, before), (after_ns, after) = pair
        interval_ns = after_ns - before_ns
        fraction = (then_ns - before_ns) / interval_ns
        then = carried_on(before, after, fraction - 1.0) if fraction > 1.0 else before.interpolate(after, fraction)
        # Two steps of odometry differ by twice the variance that their middle has; the bend grows with the square.
        steps, bend = 2.0 * abs(now_ns - then_ns) / interval_ns, (fraction * (1.0 - fraction)) ** 2
        squares = (steps + bend) * self._squares / self._weight
        return self._poses[-1][1].inverse @ then, np.diag(np.repeat(squares, 3))

    def _around(self, stamp_ns: int) -> tuple[tuple[int, SE3], tuple[int, SE3]] | None:
        """The poses before and after a stamp, or the last two for one a little later."""
        poses = list(self._poses)
        for before, after in pairwise(poses):
            if before[0] <= stamp_ns <= after[0]:
                return before, after
        if len(poses) < 2 or stamp_ns < poses[0][0]:
            return None
        interval_ns = poses[-1][0] - poses[-2][0]
        return (poses[-2], poses[-1]) if stamp_ns - poses[-1][0] <= _FARTHEST_AHEAD * interval_ns else None

    def _learn(self, first: tuple[int, SE3], middle: tuple[int, SE3], last: tuple[int, SE3]) -> None:
        fraction = (middle[0] - first[0]) / (last[0] - first[0])
        error = pose_difference(first[1].interpolate(last[1], fraction), middle[1])
        kept = 1.0 - 1.0 / _REMEMBERED
        self._squares = kept * self._squares + np.square(error).reshape(2, 3).mean(axis=1)
        self._weight = kept * self._weight + 1.0
