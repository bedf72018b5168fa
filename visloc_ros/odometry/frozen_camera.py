"""A camera whose images stand still while a gyroscope or wheels show that it moves: it is frozen, or shows a picture.

What such a sensor says counts as much as it has agreed with the images before: in proportion to the motion, and by its
clock, which may be late where the robot stops. A gyroscope that the images contradict, and wheels whose last step did,
say nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Array, rotation_vector
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.odometry.gyroscope import Gyroscope
from visloc_ros.odometry.standstill import StandstillDetector
from visloc_ros.odometry.wheel_scale import WheelScale

_log = logging.getLogger(__name__)

_LONGEST_NS = NANOSECONDS // 2  # that images stand: the bias of a gyroscope would count for more than a slow turn
_COMPARED_NS = (NANOSECONDS // 2, 2 * NANOSECONDS)  # shortest and longest time in which motions are compared
_SURE = 4.0  # standard deviations: 99.9 % of a vector (3,)
_SEEN = 0.25  # of a motion: images that show so much of it do not stand
_FORGET = 0.98  # of what was compared before: half a minute

_BIAS_SIGMA = 0.01  # rad/s, by which the bias changes at once where a motor begins to shake the gyroscope
_STANDING = 0.003  # rad, that a camera may tremble by while its images stand
_USUAL_DELAY_S = 0.3  # of clocks that are not synchronized
_USUAL_COUNT = 5.0  # motions, that what is usual counts as
_RATE_NS = NANOSECONDS // 10  # that a speed is the mean of: vibration counts for less


class SensorClock:
    """How much the clock of a sensor may differ from the camera's: then the images lag where the speed changes."""

    def __init__(self) -> None:
        self._sum, self._weight = 0.0, 0.0

    @property
    def delay_s(self) -> float:
        """The delay, or lead, that two standard deviations do not rule out."""
        weight = self._weight + 1.0 / _USUAL_DELAY_S**2
        return abs(self._sum) / weight + 2.0 / float(np.sqrt(weight))

    def learn(self, difference: Array, change: Array, sigma: float) -> None:
        """Take by how much two motions differ, by how much the speed has changed meanwhile, and the noise."""
        self._sum = _FORGET * self._sum + float(change @ difference) / sigma**2
        self._weight = _FORGET * self._weight + float(change @ change) / sigma**2


class MotionErrors:
    """How far a sensor's motions (N,) were from those that the images showed.

    ``usual`` is the standard deviation before any is known, ``least`` the smallest that a motion is compared with.
    """

    def __init__(self, clock: SensorClock, usual: float, least: float) -> None:
        self._clock, self._least = clock, least
        self._squares, self._count = _USUAL_COUNT * usual**2, _USUAL_COUNT

    def learn(self, seen: Array, moved: Array, change: Array) -> None:
        """Take one motion by the images and by the sensor, and how its speed has changed meanwhile."""
        difference = seen - moved
        self._squares = _FORGET * self._squares + float(difference @ difference)
        self._count = _FORGET * self._count + 1.0
        self._clock.learn(difference, change, self._sigma)

    def is_sure(self, moved: float, fastest: float, drift: float) -> bool:
        """Whether a motion is one: no noise, no slip, and none before the images stopped, by a clock that is late."""
        noise = float(np.hypot(max(self._sigma, self._least), drift))
        return moved > _SURE * noise + self._clock.delay_s * fastest

    @property
    def _sigma(self) -> float:
        """Standard deviation of a difference, by slip and noise."""
        return float(np.sqrt(self._squares / self._count))


@dataclass(frozen=True, eq=False)
class _Sight:
    """A frame, and its pose by the images where it has one."""

    frame: Frame
    pose: OdometryPose | None


@dataclass(frozen=True)
class _Sensor:
    """``moved`` between two stamps (N,), None where unknown, up to the newest sample's; ``seen`` so by the images.

    ``drift`` is the standard deviation, after so many seconds, of what adds up; ``usual``, ``least``: see MotionErrors.
    """

    name: str
    newest_ns: Callable[[], int | None]
    moved: Callable[[int, int], Array | None]
    seen: Callable[[OdometryPose, OdometryPose], Array | None]
    drift: Callable[[float], float]
    usual: float
    least: float


class Witness:
    """One sensor: compares its motions with those by the images, and says whether it contradicts images that stand."""

    def __init__(self, sensor: _Sensor, clock: SensorClock) -> None:
        self.name = sensor.name
        self._sensor, self._errors = sensor, MotionErrors(clock, sensor.usual, sensor.least)
        self.forget()

    def forget(self) -> None:
        """Start again with the images."""
        self._waiting: deque[OdometryPose] = deque(maxlen=256)
        self._begin: OdometryPose | None = None

    def follow(self, pose: OdometryPose) -> None:
        """Take the next pose by images in which nothing is wrong."""
        newest_ns = self._sensor.newest_ns()
        if newest_ns is None:
            return
        self._waiting.append(pose)
        while self._waiting and self._waiting[0].stamp_ns <= newest_ns:
            self._compare(self._waiting.popleft())

    def contradicts(self, begin: _Sight, end: _Sight) -> bool:
        """Whether the camera has moved, and the poses do not show it; the images are not compared."""
        begin_ns, newest_ns = begin.frame.stamp_ns, self._sensor.newest_ns()
        end_ns = min(end.frame.stamp_ns, begin_ns if newest_ns is None else newest_ns)
        if end_ns <= begin_ns:
            return False
        moved = self._sensor.moved(begin_ns, end_ns)
        if moved is None:
            return False
        size, seen = float(np.linalg.norm(moved)), None
        if begin.pose is not None and end.pose is not None and begin.pose.segment == end.pose.segment:
            seen = self._sensor.seen(begin.pose, end.pose)
        if seen is not None and np.linalg.norm(seen) > _SEEN * size:
            return False
        seconds = (end_ns - begin_ns) / NANOSECONDS
        newest = self._speed(end_ns - _RATE_NS, end_ns)
        fastest = max(size / seconds, 0.0 if newest is None else float(np.linalg.norm(newest)))
        return self._errors.is_sure(size, fastest, self._sensor.drift(seconds))

    def _speed(self, begin_ns: int, end_ns: int) -> Array | None:
        moved = self._sensor.moved(begin_ns, end_ns)
        return None if moved is None else moved * (NANOSECONDS / (end_ns - begin_ns))

    def _compare(self, pose: OdometryPose) -> None:
        begin = self._begin
        passed_ns = -1 if begin is None else pose.stamp_ns - begin.stamp_ns
        if begin is None or begin.segment != pose.segment or not 0 <= passed_ns <= _COMPARED_NS[1]:
            self._begin = pose
            return
        if passed_ns < _COMPARED_NS[0]:
            return
        self._begin = pose
        if self._sensor.drift(passed_ns / NANOSECONDS) > 2.0 * self._sensor.usual:
            return  # the bias is not known yet
        moved, seen = self._sensor.moved(begin.stamp_ns, pose.stamp_ns), self._sensor.seen(begin, pose)
        first, last = (self._speed(one.stamp_ns - _RATE_NS, one.stamp_ns) for one in (begin, pose))
        if moved is not None and seen is not None and first is not None and last is not None:
            self._errors.learn(seen, moved, last - first)


class FrozenCamera:
    """Compares images that stand with what a gyroscope and wheels say.

    ``against`` is the sensor that moves while the camera is frozen, "gyroscope" or "wheels", otherwise empty. A frozen
    camera is so until its images move: the robot may stand meanwhile.
    """

    def __init__(self, gyroscope: Gyroscope, wheels: WheelScale) -> None:
        of_wheels = SensorClock()
        self._witnesses = (
            Witness(_turns(gyroscope), SensorClock()),
            Witness(_ways(wheels), of_wheels),
            Witness(_wheel_turns(wheels), of_wheels),
        )
        self._standstill = StandstillDetector()
        self.num_frames = 0
        self.forget()

    def forget(self) -> None:
        """Start again with the images; what is known of the sensors stays."""
        self.against = ""
        self._rest: _Sight | None = None
        self._before: _Sight | None = None
        for witness in self._witnesses:
            witness.forget()

    def still_shows(self, frame: Frame) -> bool:
        """Whether a frozen camera shows in the next frame, too, what it did; otherwise it is none any more."""
        if not self.against:
            return False
        if self._standstill.is_still(frame):
            self.num_frames += 1
            return True
        _log.info("the images move again")
        self.forget()
        return False

    def has_begun(self, frame: Frame, result: OdometryPose | Rejection) -> bool:
        """Whether the next frame, with what odometry says of it, shows that the camera is frozen."""
        here = _Sight(frame, result if isinstance(result, OdometryPose) else None)
        for begin in dict.fromkeys((self._before, self._rest)):
            if begin is not None and self._stands(begin, here):
                self.num_frames += 1
                _log.warning("%s", self.words)
                return True
        self._keep(here)
        if here.pose is not None:
            for witness in self._witnesses:
                witness.follow(here.pose)
        return False

    @property
    def words(self) -> str:
        """What is wrong, and what to do about it; empty while nothing is."""
        return _WORDS.get(self.against, "")

    def _stands(self, begin: _Sight, here: _Sight) -> bool:
        against = next((one.name for one in self._witnesses if one.contradicts(begin, here)), "")
        if not against:
            return False
        self._standstill.forget()
        self._standstill.is_still(begin.frame)
        self.against = against if self._standstill.is_still(here.frame) else ""
        return bool(self.against)

    def _keep(self, here: _Sight) -> None:
        """The frame that images stand since: no longer than half a second ago, and the pose has not moved since."""
        rest = self._rest
        if rest is None or here.frame.stamp_ns - rest.frame.stamp_ns > _LONGEST_NS or _has_moved(rest, here):
            self._rest = here
        self._before = here


_WORDS = {
    "gyroscope": "The images stand still while the gyroscope turns: the camera is frozen, or shows a picture; "
    "restart it.",
    "wheels": "The images stand still while the wheels drive: the camera is frozen, or the wheels spin; restart the "
    "camera, or free the robot.",
}


def _has_moved(begin: _Sight, end: _Sight) -> bool:
    if begin.pose is None or end.pose is None:
        return begin.pose is not end.pose
    if begin.pose.segment != end.pose.segment:
        return True
    return float(np.linalg.norm(_turn_seen(begin.pose, end.pose))) > _STANDING


def _turn_seen(begin: OdometryPose, end: OdometryPose) -> Array:
    """The camera's turn by the images: a rotation vector (3,) in its axes at the beginning."""
    return rotation_vector(begin.odom_from_camera.rotation.T @ end.odom_from_camera.rotation)


def _turns(gyroscope: Gyroscope) -> _Sensor:
    def moved(begin_ns: int, end_ns: int) -> Array | None:
        turn = gyroscope.turn(begin_ns, end_ns)
        return None if turn is None else rotation_vector(turn.T)

    def drift(seconds: float) -> float:
        return float(np.hypot(_BIAS_SIGMA, gyroscope.bias_sigma)) * seconds

    return _Sensor("gyroscope", lambda: gyroscope.samples.newest_ns, moved, _turn_seen, drift, usual=0.003, least=0.001)


def _ways(wheels: WheelScale) -> _Sensor:
    """Distances (1,) in metres."""

    def moved(begin_ns: int, end_ns: int) -> Array | None:
        motion = wheels.moved(begin_ns, end_ns)
        return None if motion is None else _size(motion.translation)

    def seen(begin: OdometryPose, end: OdometryPose) -> Array | None:
        units = end.odom_from_camera.translation - begin.odom_from_camera.translation
        return None if wheels.scale is None else wheels.scale.metres_per_unit * _size(units)

    return _Sensor("wheels", lambda: wheels.wheels.newest_ns, moved, seen, lambda _: 0.0, usual=0.01, least=0.01)


def _wheel_turns(wheels: WheelScale) -> _Sensor:
    """Angles (1,) in rad: where the camera is on the base may be unknown."""

    def moved(begin_ns: int, end_ns: int) -> Array | None:
        motion = wheels.moved(begin_ns, end_ns)
        return None if motion is None else _size(rotation_vector(motion.rotation))

    def seen(begin: OdometryPose, end: OdometryPose) -> Array:
        return _size(_turn_seen(begin, end))

    return _Sensor("wheels", lambda: wheels.wheels.newest_ns, moved, seen, lambda _: 0.0, usual=0.01, least=0.005)


def _size(vector: Array) -> Array:
    return np.array([np.linalg.norm(vector)])
