"""How a camera or a body moved around the stamps of its last frames, with the covariance of that motion."""

from __future__ import annotations

from collections import deque
from itertools import islice, pairwise
from statistics import median_low

import numpy as np

from visloc_ros.core.geometry import SE3, Array, carried_on, nearest_rotation
from visloc_ros.core.tangent import move_covariance, pose_difference, turn_covariance
from visloc_ros.core.trajectory import NANOSECONDS

SPEED = 0.5  # m/s, standard deviation of an unobserved motion: before the first fix odometry has no metric scale
TURN_RATE = float(np.deg2rad(30.0))  # rad/s, likewise for a rotation across a loss of odometry

USUAL_ACCELERATION = np.array([1.0, 2.0])
"""Standard deviations of a coordinate, m/s2 and rad/s2, before any is observed.

Wheels and walking people reach about three times as much, and a hand or a head turns its camera about a joint half a
metre away.
"""

_OLDEST_NS = NANOSECONDS // 2  # of an image: then its camera is unplugged
_KEPT = 128  # poses
_TRUST, _REMEMBERED = 2.0, 15.0  # errors that the usual acceleration counts as, and frames that they are averaged over
_FEWEST = 2.0  # errors from which a mean is known, each of three coordinates
_MOST_AHEAD = 4.0  # intervals between frames that the motion is carried on
_MOST = 5.0  # times the usual error: what is larger is a leap, as of another camera's image
_SHORTEST = 0.75  # usual intervals that show a velocity


def unobserved_motion_covariance(seconds: float, speed: float = SPEED, turn_rate: float = TURN_RATE) -> Array:
    """Covariance (6, 6) that an unobserved motion adds to a pose in some time."""
    return np.diag(np.repeat([(speed * seconds) ** 2, (turn_rate * seconds) ** 2], 3))


def unobserved_motion(then_ns: int, now_ns: int) -> tuple[SE3, Array] | None:
    """``now_from_then`` of a body whose motion nothing shows, with its covariance (6, 6); None for long ago."""
    since_ns = abs(now_ns - then_ns)
    if since_ns > _OLDEST_NS:
        return None
    return SE3.identity(), unobserved_motion_covariance(since_ns / NANOSECONDS)


def carried_from(parent_from_then: SE3, now_from_then: SE3, covariance: Array) -> tuple[SE3, Array]:
    """A pose moved on by a motion, and what the covariance (6, 6) of that adds about the axes of the parent."""
    parent_from_now = parent_from_then @ now_from_then.inverse
    moved = move_covariance(covariance, -now_from_then.translation)
    return parent_from_now, turn_covariance(moved, parent_from_now.rotation)


class RecentMotion:
    """Interpolates the poses of frames in one frame of reference; each shows how wrong its neighbours' middle was.

    That error is of the odometry and of the acceleration; each is taken to be as large as all of it.
    """

    def __init__(self) -> None:
        self._poses: deque[tuple[int, SE3]] = deque(maxlen=_KEPT)
        self._leap: tuple[int, SE3] | None = None
        self._squares, self._weight = np.zeros(2), 0.0  # of the position and of the rotation, a coordinate

    def reset(self) -> None:
        """Forget everything: stamps may start again, or poses be of another camera."""
        self._poses.clear()
        self._leap = None
        self._squares, self._weight = np.zeros(2), 0.0

    def add(self, stamp_ns: int, parent_from_body: SE3) -> None:
        """Take the pose of the next frame; an earlier stamp begins again."""
        if self._poses and stamp_ns <= self._poses[-1][0]:
            self.reset()
        # Poses may be made of motions that came from here: rounding errors would grow fourfold from one to the next.
        pose = SE3(nearest_rotation(parent_from_body.rotation), parent_from_body.translation)
        leap, self._leap = self._leap, None
        if self.is_leap(stamp_ns, pose):
            if leap is None:
                self._leap = stamp_ns, pose
                return
            if leap[0] < stamp_ns:
                self._append(*leap)
        self._append(stamp_ns, pose)

    @property
    def has_leapt(self) -> bool:
        """Whether no acceleration so far explains the newest pose, which counts if the next one does not leap back."""
        return self._leap is not None

    @property
    def poses(self) -> tuple[tuple[int, SE3], ...]:
        """The last poses by stamp."""
        return tuple(self._poses)

    def is_known(self, now_ns: int) -> bool:
        """Whether a pose is of about this time, and errors are known."""
        newest_ns = self._poses[-1][0] if self._poses else -_OLDEST_NS
        return self._weight >= _FEWEST and now_ns - newest_ns < _OLDEST_NS

    def since(self, then_ns: int, now_ns: int) -> tuple[SE3, Array] | None:
        """``now_from_then`` and its covariance (6, 6) about the axes of the body now; None where that is not known.

        After the newest pose the body moves on at constant velocity, for some frames.
        """
        if then_ns == now_ns:
            return SE3.identity(), np.zeros((6, 6))
        if now_ns - then_ns > _OLDEST_NS or self._weight < _FEWEST:
            return None
        now, then = self._at(now_ns), self._at(then_ns)
        if now is None or then is None:
            return None
        # Two steps of odometry differ by twice the variance that their middle has.
        steps = 2.0 * abs(now_ns - then_ns) / now[1]
        squares = steps * self._noise() + (now[2] + then[2]) * self._square()
        return now[0].inverse @ then[0], np.diag(np.repeat(squares, 3))

    def expected(self, stamp_ns: int) -> tuple[SE3, Array] | None:
        """The newest pose carried on to a later stamp, with the covariance (6, 6) of that; None without one."""
        if not self._poses or stamp_ns <= self._poses[-1][0]:
            return None
        newest_ns, newest = self._poses[-1]
        moved = self.since(newest_ns, stamp_ns)
        if moved is None:
            return newest, unobserved_motion_covariance((stamp_ns - newest_ns) / NANOSECONDS)
        return carried_from(newest, *moved)

    def _square(self) -> Array:
        """Mean square of the errors of position and of rotation (2,), where frames have the usual interval."""
        usual = np.square(USUAL_ACCELERATION * (self._usual_ns / NANOSECONDS) ** 2 / 2.0)
        return np.asarray((_TRUST * usual + self._squares) / (_TRUST + self._weight))

    def _noise(self) -> Array:
        """Mean square of the errors so far (2,): no unknown acceleration is in motions that odometry has measured."""
        count = 3.0 * self._weight  # of coordinates: few say less (variance of Student's distribution)
        return np.asarray(self._squares / self._weight * count / (count - 2.0))

    def _at(self, stamp_ns: int) -> tuple[SE3, int, float] | None:
        """The pose at a stamp, the interval of the frames there, and how far it is from what these show.

        The latter is a factor on the variance, which grows with the square of the acceleration's effect: that of a
        usual interval is known.
        """
        pair = self._around(stamp_ns)
        if pair is None:
            return None
        (before_ns, before), (after_ns, after) = pair
        interval_ns = after_ns - before_ns
        fraction = (stamp_ns - before_ns) / interval_ns
        if fraction > 1.0 + _MOST_AHEAD:
            return None
        pose = carried_on(before, after, fraction - 1.0) if fraction > 1.0 else before.interpolate(after, fraction)
        longer = max(1.0, interval_ns / self._usual_ns)
        return pose, interval_ns, (fraction * (1.0 - fraction) * longer**2) ** 2

    @property
    def _usual_ns(self) -> int:
        """The median interval of the last poses, two at least."""
        stamps = [stamp_ns for stamp_ns, _ in islice(reversed(self._poses), int(_REMEMBERED))]
        return median_low(later - earlier for later, earlier in pairwise(stamps))

    def _around(self, stamp_ns: int) -> tuple[tuple[int, SE3], tuple[int, SE3]] | None:
        """The poses before and after a stamp, or those that show the newest velocity for a later one.

        The latter are of about a usual interval: cameras that take their images at different times leave short ones.
        """
        poses = list(self._poses)
        if len(poses) < 2 or stamp_ns < poses[0][0]:
            return None
        if stamp_ns > poses[-1][0]:
            earlier = (one for one in reversed(poses) if poses[-1][0] - one[0] >= _SHORTEST * self._usual_ns)
            return next(earlier), poses[-1]
        return next(pair for pair in pairwise(poses) if pair[0][0] <= stamp_ns <= pair[1][0])

    def is_leap(self, stamp_ns: int, pose: SE3) -> bool:
        """Whether no acceleration so far explains the pose of a later frame."""
        carried = self._at(stamp_ns) if self._weight >= _FEWEST else None
        if carried is None:
            return False
        squares = np.square(pose_difference(carried[0], pose)).reshape(2, 3).mean(axis=1)
        return bool(np.any(squares > _MOST**2 * (2.0 + carried[2]) * self._square()))

    def _append(self, stamp_ns: int, pose: SE3) -> None:
        self._poses.append((stamp_ns, pose))
        if len(self._poses) >= 3:
            self._learn(*list(self._poses)[-3:])

    def _learn(self, first: tuple[int, SE3], middle: tuple[int, SE3], last: tuple[int, SE3]) -> None:
        fraction = (middle[0] - first[0]) / (last[0] - first[0])
        error = pose_difference(first[1].interpolate(last[1], fraction), middle[1])
        kept = 1.0 - 1.0 / _REMEMBERED
        squares = np.square(error).reshape(2, 3).mean(axis=1)
        self._squares = kept * self._squares + np.minimum(squares, _MOST**2 * self._square())
        self._weight = kept * self._weight + 1.0
