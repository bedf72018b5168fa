"""The metres in one unit of the odometry, from steps that wheels measured, too."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from visloc_ros.core.config import Config, option
from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, OdometryScale
from visloc_ros.odometry.sample_buffer import SampleBuffer

_KEEP_S = 10.0
_LONGEST_GAP_NS = NANOSECONDS // 4  # between wheel poses
_LONGEST_STEP_NS = 5 * NANOSECONDS  # after it, the step starts again: the odometry drifts, too
_MAX_TURN_DEG = 15.0  # of a step, where the camera's place on the base is not known
_MAX_ANGLE_DEG = 30.0  # between the directions that wheels and images show

_MIN_STEPS = 5
_USUAL_SCATTER = 0.1  # of a step's logarithm, before the steps themselves show it
_USUAL_COUNT = 3.0
_LEAST_SIGMA = 0.005  # no wheel's radius is known better
_MAD_TO_SIGMA = 1.4826
_MEDIAN_INEFFICIENCY = 1.2533


@dataclass(frozen=True)
class WheelConfig(Config):
    """Options of the scale by wheel odometry."""

    step: float = option(0.1, "distance by wheel odometry of one comparison with the images [m]", minimum=0.01)
    window: int = option(60, "steps that the scale is the median of", minimum=5, maximum=10000)


class WheelPose(NamedTuple):
    """``odom_from_base`` in metres by the wheels, and where the camera is on the base; None where that is unknown."""

    odom_from_base: SE3
    base_from_camera: SE3 | None


class _Step(NamedTuple):
    """Logarithm of metres per unit by one step, and how far the images saw the camera move, in units."""

    log_ratio: float
    seen: float


class _WheelFrame(NamedTuple):
    """One frame by the images and by the wheels."""

    stamp_ns: int
    odom_from_camera: SE3
    wheels: WheelPose


class WheelScale:
    """Compares steps of the camera with those of the base. ``wheels`` may be added to from another thread.

    ``counts`` holds the numbers of steps compared, and of those that contradicted the images.
    """

    def __init__(self, config: WheelConfig) -> None:
        self.wheels: SampleBuffer[WheelPose] = SampleBuffer(_KEEP_S)
        self.counts: Counter[str] = Counter()
        self._config = config
        self._segment: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the segment: the next one has another scale."""
        self._waiting: deque[OdometryPose] = deque(maxlen=256)
        self._begin: _WheelFrame | None = None
        self._steps: deque[_Step] = deque(maxlen=self._config.window)
        self._scale: OdometryScale | None = None
        self._is_confirmed = False  # by the last step

    @property
    def scale(self) -> OdometryScale | None:
        """The scale of the segment; None while unknown."""
        return self._scale

    def moved(self, begin_ns: int, end_ns: int) -> SE3 | None:
        """``begin_from_end`` of the camera in metres between two stamps; None where the images contradict the wheels.

        So it is where samples are missing, and before the scale is known: a robot on a stand, whose wheels turn, is not
        believed to drive. Where the camera's place is not known, it is that of the base.
        """
        begin, end = self._wheels_at(begin_ns), self._wheels_at(end_ns)
        if begin is None or end is None or self._scale is None or not self._is_confirmed:
            return None
        first, last = (one.odom_from_base @ (one.base_from_camera or SE3.identity()) for one in (begin, end))
        return first.inverse @ last

    def follow(self, pose: OdometryPose) -> OdometryScale | None:
        """Take the next pose; gives the scale of its segment, unchanged while nothing moves, None while unknown."""
        if self.wheels.newest_ns is None:
            return None
        if pose.segment != self._segment:
            self._segment = pose.segment
            self.reset()
        self._waiting.append(pose)
        newest_ns = self.wheels.newest_ns
        while self._waiting and self._waiting[0].stamp_ns <= newest_ns:
            self._advance(self._waiting.popleft())
        return self._scale

    def _advance(self, pose: OdometryPose) -> None:
        wheels = self._wheels_at(pose.stamp_ns)
        if wheels is None:
            self._begin = None
            return
        here = _WheelFrame(pose.stamp_ns, pose.odom_from_camera, wheels)
        if self._begin is None or here.stamp_ns - self._begin.stamp_ns > _LONGEST_STEP_NS:
            self._begin = here
            return
        metres = _camera_displacement(self._begin, here)
        if np.linalg.norm(metres) < self._config.step:
            return
        step = self._compare(self._begin, here, metres)
        self._begin, self._is_confirmed = here, step is not None
        if step is not None:
            self._steps.append(step)
            self._estimate()

    def _wheels_at(self, stamp_ns: int) -> WheelPose | None:
        """Wheel pose at a stamp between two that are not far apart."""
        around = self.wheels.around(stamp_ns, stamp_ns)
        if not around or not around[0][0] <= stamp_ns <= around[-1][0]:
            return None
        (begin_ns, before), (end_ns, after) = around[0], around[-1]
        if end_ns - begin_ns > _LONGEST_GAP_NS:
            return None
        fraction = (stamp_ns - begin_ns) / max(1, end_ns - begin_ns)
        return WheelPose(before.odom_from_base.interpolate(after.odom_from_base, fraction), after.base_from_camera)

    def _compare(self, begin: _WheelFrame, end: _WheelFrame, metres: Array) -> _Step | None:
        """The scale by one step, or None where that does not determine it."""
        self.counts["steps"] += 1
        units = (begin.odom_from_camera.inverse @ end.odom_from_camera).translation
        seen, moved = float(np.linalg.norm(units)), float(np.linalg.norm(metres))
        if begin.wheels.base_from_camera is None:
            turned = rotation_angle_deg(begin.odom_from_camera.rotation, end.odom_from_camera.rotation)
            is_consistent = seen > 0.0 and turned <= _MAX_TURN_DEG
        else:
            is_consistent = seen > 0.0 and float(units @ metres) >= np.cos(np.radians(_MAX_ANGLE_DEG)) * seen * moved
        self.counts["contradicted"] += not is_consistent
        return _Step(float(np.log(moved / seen)), seen) if is_consistent else None

    def _estimate(self) -> None:
        """Median over the steps, robust against slipping wheels, and its uncertainty by their scatter.

        Steps weigh by what the camera moved, so that spinning wheels do not outvote the others.
        """
        number = len(self._steps)
        if number < _MIN_STEPS:
            return
        ratios, seen = np.array(self._steps).T
        weights = np.minimum(seen, np.median(seen))
        centre = weighted_median(ratios, weights)
        scatter = _MAD_TO_SIGMA * weighted_median(np.abs(ratios - centre), weights)
        variance = (number * scatter**2 + _USUAL_COUNT * _USUAL_SCATTER**2) / (number + _USUAL_COUNT)
        sigma = _MEDIAN_INEFFICIENCY * float(np.sqrt(variance / number))
        self._scale = OdometryScale(float(np.exp(centre)), max(sigma, _LEAST_SIGMA))


def weighted_median(values: Array, weights: Array) -> float:
    """The value (of N) with half of the weights (N,) on either side."""
    order = np.argsort(values)
    heaped = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(heaped, 0.5 * heaped[-1])])


def _camera_displacement(begin: _WheelFrame, end: _WheelFrame) -> Array:
    """The camera's motion by the wheels, in metres, in its axes at the beginning (3,).

    The base moves by the wheels, but turns by the images, which measure turns better. Where the camera's place is not
    known, it moves as the base does, in its own axes.
    """
    moved = (begin.wheels.odom_from_base.inverse @ end.wheels.odom_from_base).translation
    base_from_camera = begin.wheels.base_from_camera
    if base_from_camera is None:
        return moved
    turned = begin.odom_from_camera.rotation.T @ end.odom_from_camera.rotation
    arm = base_from_camera.rotation.T @ base_from_camera.translation  # from the base to the camera, in its axes
    return np.asarray(base_from_camera.rotation.T @ moved + turned @ arm - arm)
