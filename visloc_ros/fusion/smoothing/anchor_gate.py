"""The anchor gate: a chi-square test of an anchor against the pose that the smoother predicts for its image."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.innovation import ANCHOR, Innovation
from visloc_ros.fusion.smoothing.fixed_lag_smoother import FixedLagSmoother


def innovation_of(smoother: FixedLagSmoother, fix: AnchorFix, config: FusionConfig) -> Innovation:
    """The innovation of an anchor, gated with the tolerances of the alignment added to its covariance."""
    predicted = smoother.at(fix.sample)
    error = pose_difference(fix.anchor.map_from_camera, predicted.state.map_from_camera)
    tolerance = config.alignment
    slack = np.repeat([tolerance.position_tolerance**2, np.deg2rad(tolerance.rotation_tolerance_deg) ** 2], 3)
    covariance = predicted.covariance[:6, :6] + smoother.variance_components.anchors.inflate(fix.covariance)
    squared = float(error @ np.linalg.solve(covariance + np.diag(slack), error))
    accepted = squared <= chi_square_quantile(config.gate.probability, 6)
    return Innovation(fix.stamp_ns, ANCHOR, error, covariance, accepted)


def refusal(fix: AnchorFix, innovation: Innovation) -> Rejection:
    """The rejection of an anchor outside the gate, with its distance in map units and its angle."""
    distance = float(np.linalg.norm(innovation.error[:3]))
    angle_deg = float(np.degrees(np.linalg.norm(innovation.error[3:])))
    counts = {"chi_square": innovation.squared, "distance": distance, "angle_deg": angle_deg}
    return Rejection(fix.stamp_ns, Reason.ODOMETRY_DISAGREES, counts)
