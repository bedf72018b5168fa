"""A pose that somebody believes in (``/initialpose``, the last run): where to look first, never an answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.odometry_model.history import Sample
from visloc_ros.fusion.odometry_model.noise_model import pose_difference

SPEED = 0.5  # m/s by which a position becomes uncertain unseen: odometry tells no lengths before the first fix
TURN_RATE = float(np.deg2rad(30.0))  # rad/s, likewise for a rotation where odometry broke off
WORTHLESS = 10.0  # standard deviation of the position, metres, at which it says nothing any more
GATE = chi_square_quantile(0.95, 6)


@dataclass(frozen=True, eq=False)
class Belief:
    """``map_from_camera`` with the covariance (6, 6) it is believed with."""

    map_from_camera: SE3
    covariance: Array

    @property
    def is_worth_something(self) -> bool:
        """Whether it still narrows the search down."""
        return bool(np.max(np.diag(self.covariance)[:3]) <= WORTHLESS**2)

    def allows(self, map_from_camera: SE3, covariance: Array) -> bool:
        """Tell whether a measured pose with its own covariance (6, 6) can be the believed one."""
        error = pose_difference(map_from_camera, self.map_from_camera)
        return bool(error @ np.linalg.solve(self.covariance + covariance, error) <= GATE)


@dataclass(frozen=True, eq=False)
class Hint:
    """A belief at one stamp; ``sample`` is the odometry there, None where there was none."""

    stamp_ns: int
    belief: Belief
    sample: Sample | None

    @staticmethod
    def of_fix(fix: Fix) -> Hint:
        """What one anchor, not borne out by itself, makes believe."""
        return Hint(fix.stamp_ns, Belief(fix.anchor.map_from_camera, fix.covariance), fix.sample)

    def at(self, sample: Sample) -> Belief:
        """The belief at another frame: turned as odometry says, and weaker the more time lies between."""
        waited_s = abs(sample.stamp_ns - self.stamp_ns) / NANOSECONDS
        pose = self.belief.map_from_camera
        if self.sample is None or self.sample.segment != sample.segment:
            return Belief(pose, self.belief.covariance + spread(waited_s))
        turned = pose.rotation @ self.sample.leg_to(sample).camera_from_camera.rotation
        return Belief(SE3(turned, pose.translation), self.belief.covariance + spread(waited_s, turn_rate=0.0))


def spread(seconds: float, speed: float = SPEED, turn_rate: float = TURN_RATE) -> Array:
    """Covariance (6, 6) that unseen motion adds to a pose in a time."""
    return np.diag(np.repeat([(speed * seconds) ** 2, (turn_rate * seconds) ** 2], 3))
