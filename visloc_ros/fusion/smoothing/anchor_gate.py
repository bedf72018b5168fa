"""The gate: does an anchor fit what the smoother predicts for its image?"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.innovation import ANCHOR, Innovation
from visloc_ros.fusion.odometry_model.noise_model import pose_difference
from visloc_ros.fusion.smoothing.fixed_lag_smoother import FixedLagSmoother


def meet(smoother: FixedLagSmoother, fix: Fix, config: FusionConfig) -> Innovation:
    """Compare an anchor with the prediction; the tolerances of agreement are the gate's slack."""
    predicted = smoother.at(fix.sample)
    error = pose_difference(fix.anchor.map_from_camera, predicted.state.map_from_camera)
    tolerance = config.alignment
    slack = np.repeat([tolerance.position_tolerance**2, np.deg2rad(tolerance.rotation_tolerance_deg) ** 2], 3)
    believed = predicted.covariance[:6, :6] + smoother.noise.scatter.inflate(fix.covariance)
    squared = float(error @ np.linalg.solve(believed + np.diag(slack), error))
    accepted = squared <= chi_square_quantile(config.gate.probability, 6)
    return Innovation(fix.stamp_ns, ANCHOR, error, believed, accepted)


def disagreement(fix: Fix, innovation: Innovation) -> Rejection:
    """Why an anchor is refused, with its distance in map units and its angle."""
    distance = float(np.linalg.norm(innovation.error[:3]))
    angle_deg = float(np.degrees(np.linalg.norm(innovation.error[3:])))
    counts = {"chi_square": innovation.squared, "distance": distance, "angle_deg": angle_deg}
    return Rejection(fix.stamp_ns, Reason.ODOMETRY_DISAGREES, counts)
