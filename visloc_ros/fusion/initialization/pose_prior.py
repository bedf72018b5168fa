"""Pose priors, around which a search in the map begins (``/initialpose``, the last run's pose); never an output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.recent_motion import unobserved_motion_covariance
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference, pose_of_other
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.odometry_model.history import OdometrySample

LARGEST_SIGMA = 10.0  # m, standard deviation of the position beyond which a prior no longer narrows a search down
GATE = chi_square_quantile(0.95, 6)


@dataclass(frozen=True, eq=False)
class PosePrior:
    """A prior of ``map_from_camera`` with its covariance (6, 6)."""

    map_from_camera: SE3
    covariance: Array

    @property
    def is_informative(self) -> bool:
        """Whether it still narrows the search down."""
        return bool(np.max(np.diag(self.covariance)[:3]) <= LARGEST_SIGMA**2)

    def of_other(self, camera_from_other: SE3) -> PosePrior:
        """The prior of another camera on the body."""
        return PosePrior(*pose_of_other(self.map_from_camera, self.covariance, camera_from_other))

    def is_consistent_with(self, map_from_camera: SE3, covariance: Array) -> bool:
        """Whether a measured pose with its own covariance (6, 6) passes a chi-square test against the prior."""
        error = pose_difference(map_from_camera, self.map_from_camera)
        return bool(error @ np.linalg.solve(self.covariance + covariance, error) <= GATE)


@dataclass(frozen=True, eq=False)
class StampedPosePrior:
    """A pose prior at one stamp; ``sample`` is the odometry there, None where there was none."""

    stamp_ns: int
    prior: PosePrior
    sample: OdometrySample | None

    @staticmethod
    def from_anchor(fix: AnchorFix) -> StampedPosePrior:
        """The prior by a single anchor, before others confirm it."""
        return StampedPosePrior(fix.stamp_ns, PosePrior(fix.anchor.map_from_camera, fix.covariance), fix.sample)

    def at(self, sample: OdometrySample) -> PosePrior:
        """The prior at another frame: turned as odometry measured, and less certain the more time lies between."""
        seconds = abs(sample.stamp_ns - self.stamp_ns) / NANOSECONDS
        pose = self.prior.map_from_camera
        if self.sample is None or self.sample.segment != sample.segment:
            return PosePrior(pose, self.prior.covariance + unobserved_motion_covariance(seconds))
        rotation = pose.rotation @ self.sample.motion_to(sample).camera_from_camera.rotation
        covariance = self.prior.covariance + unobserved_motion_covariance(seconds, turn_rate=0.0)
        return PosePrior(SE3(rotation, pose.translation), covariance)
