from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose
from visloc_ros.fusion.config import AnchorNoiseConfig, DriftConfig
from visloc_ros.fusion.noise_levels import Evidence, Inflation, NoiseLevels, map_covariance


def evidence_of(sigma, count=200, explained=0.0):
    """Residuals of measurements that claim a standard deviation of one and have another."""
    residuals = np.random.default_rng(0).normal(size=(count, 6)) * sigma
    ones = np.broadcast_to(np.eye(6), (count, 6, 6))
    return Evidence(residuals, ones, explained * ones)


def test_residuals_tell_the_size_of_errors():
    found = Inflation().learnt(evidence_of(3.0), prior_weight=6.0, largest=100.0)
    assert found.position == pytest.approx(9.0, rel=0.15)
    assert found.rotation == pytest.approx(9.0, rel=0.15)


def test_what_the_estimate_took_over_from_measurements_is_no_evidence_of_small_errors():
    """With half of each measurement explained, residuals have half of the variance."""
    found = Inflation().learnt(evidence_of(np.sqrt(0.5), explained=0.5), prior_weight=6.0, largest=100.0)
    assert found.position == pytest.approx(1.0, rel=0.15)


def test_without_measurements_the_claims_stand():
    none = Evidence(np.empty((0, 6)), np.empty((0, 6, 6)), np.empty((0, 6, 6)))
    assert Inflation().learnt(none, prior_weight=6.0, largest=100.0) == Inflation()


def test_what_does_not_scatter_is_common_to_all_anchors():
    levels = NoiseLevels(scatter=Inflation(0.25, 2.0))
    assert (levels.common.position, levels.common.rotation) == (0.75, 0.5)
    assert NoiseLevels().common == Inflation(0.0, 0.0)


def test_drift_grows_by_the_root_of_its_factors():
    grown = NoiseLevels(drift=Inflation(4.0, 9.0)).drifting(DriftConfig())
    assert grown.position == pytest.approx(2.0 * DriftConfig().position)
    assert grown.rotation_deg == pytest.approx(3.0 * DriftConfig().rotation_deg)


def test_bad_reprojection_betrays_a_bad_map():
    """3 px too many at a focal length of 600 px are 5 mrad, at a distance of 4 m 2 cm."""
    config, points = AnchorNoiseConfig(), np.array([[0.0, 0.0, 4.0], [0.0, 4.0, 0.0]])
    good = AnchorPose(0, SE3.identity(), np.eye(6), 50, 80, 0.8, inlier_points=points, focal_length=600.0)
    bad = replace(good, reprojection_error_px=float(np.hypot(3.0, config.keypoint_noise_px)))
    assert np.sqrt(map_covariance(good, config)[0, 0]) == pytest.approx(config.position_floor)
    deviations = np.sqrt(np.diag(map_covariance(bad, config)))
    assert deviations[0] == pytest.approx(np.hypot(0.02, config.position_floor))
    assert deviations[5] == pytest.approx(np.hypot(0.005, np.deg2rad(config.rotation_floor_deg)))
