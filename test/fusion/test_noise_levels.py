import numpy as np
import pytest

from visloc_ros.fusion.config import DriftConfig
from visloc_ros.fusion.noise_levels import Evidence, Inflation, NoiseLevels


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
