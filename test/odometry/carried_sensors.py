"""What an IMU and wheels show along an exactly known path."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, Reason, Rejection
from visloc_ros.odometry import ImuSample, Odometry

GRAVITY = np.array([0.0, 0.0, 9.81])
STEP_S = 1e-3
SCALE = 0.25  # metres in one unit of the odometry
ODOM_FROM_MAP = SE3(rotation_matrix([0.4, -0.8, 1.1]), np.array([0.3, 0.2, -0.5]))


def odometry_pose(stamp_ns, map_from_camera, segment=0, noise=0.0, rng=None):
    """What an odometry says of a true pose: turned, shifted and in units of its own; noise in units and radians."""
    pose = ODOM_FROM_MAP @ map_from_camera
    position = pose.translation / SCALE
    if noise:
        position = position + rng.normal(0.0, noise, 3)
        pose = SE3(pose.rotation @ rotation_matrix(rng.normal(0.0, 0.3 * noise, 3)), position)
    return OdometryPose(stamp_ns, SE3(pose.rotation, position), segment, num_tracked=100)


class KnownOdometry(Odometry):
    """A visual odometry that is right; frames whose stamps are among ``lost`` have no pose, and end a segment."""

    def __init__(self, path, lost=()):
        self._path, self._lost, self._segment = path, lost, 0
        self.loops = ()

    def track(self, frame):
        if frame.stamp_ns in self._lost:
            self._segment += 1
            return Rejection(frame.stamp_ns, Reason.FEW_FEATURES)
        return odometry_pose(frame.stamp_ns, self._path.pose(frame.stamp_ns / NANOSECONDS), self._segment)

    def take_loops(self):
        return self.loops

    def reset(self):
        self._segment += 1


class CarriedImu:
    """An IMU in the camera's axes on a path ``map_from_camera``, z up, with biases and noise of a cheap one."""

    def __init__(self, path, bias=(0.03, -0.05, 0.02), noise=0.003, acceleration_bias=(0.05, -0.05, 0.03), seed=0):
        self._path = path
        self._bias, self._noise = np.asarray(bias), noise
        self._acceleration_bias, self._rng = np.asarray(acceleration_bias), np.random.default_rng(seed)

    def at(self, seconds: float, begin_ns: int = 0) -> ImuSample:
        before, here, after = (self._path.pose(seconds + shift) for shift in (-STEP_S, 0.0, STEP_S))
        rate = rotation_vector(before.rotation.T @ after.rotation) / (2 * STEP_S)
        moved = (after.translation - 2 * here.translation + before.translation) / STEP_S**2
        return ImuSample(
            begin_ns + round(seconds * NANOSECONDS),
            rate + self._bias + self._rng.normal(0.0, self._noise, 3),
            here.rotation.T @ (moved + GRAVITY) + self._acceleration_bias + self._rng.normal(0.0, 0.05, 3),
        )

    def samples(self, duration_s: float, rate_hz: float = 200.0, begin_ns: int = 0) -> Iterator[ImuSample]:
        """Samples in order of time."""
        return (self.at(seconds, begin_ns) for seconds in np.arange(0.0, duration_s, 1.0 / rate_hz))


class Wheels:
    """Wheel odometry of a base that carries the camera: every step is off by a share of its length and turn."""

    def __init__(self, map_from_base: list[SE3], slip: float = 0.0, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.odom_from_base = [SE3.identity()]
        for before, after in pairwise(map_from_base):
            step = before.inverse @ after
            turn = rotation_vector(step.rotation) * (1.0 + rng.normal(0.0, slip))
            slipped = SE3.from_rotation_vector(turn, step.translation * (1.0 + rng.normal(0.0, slip)))
            self.odom_from_base.append(self.odom_from_base[-1] @ slipped)
