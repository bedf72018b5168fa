import numpy as np
import pytest

from visloc_ros.fusion.config import NoisePriorConfig, OdometryNoiseConfig
from visloc_ros.fusion.smoothing.variance_components import ResidualStatistics, VarianceComponents, VarianceFactors


def statistics_of(sigma, count=200, explained=0.0):
    """Residuals of measurements that claim a standard deviation of one and have another."""
    residuals = np.random.default_rng(0).normal(size=(count, 6)) * sigma
    ones = np.broadcast_to(np.eye(6), (count, 6, 6))
    return ResidualStatistics(residuals, ones, explained * ones)


def statistics_beside(besides, square, count):
    """Measurements that claim a variance of one, of residuals in which another ``besides`` is expected, too.

    All residuals have the same square.
    """
    ones = np.broadcast_to(np.eye(6), (count, 6, 6))
    return ResidualStatistics(np.full((count, 6), np.sqrt(square)), (1.0 + besides) * ones, 0.0 * ones, ones)


def test_residuals_give_the_size_of_errors():
    found = VarianceFactors().estimate(statistics_of(3.0), NoisePriorConfig()).mean
    assert found.position == pytest.approx(9.0, rel=0.15)
    assert found.rotation == pytest.approx(9.0, rel=0.15)


def test_what_the_estimate_took_over_from_measurements_is_no_evidence_of_small_errors():
    """With half of each measurement explained, residuals have half of the variance."""
    found = VarianceFactors().estimate(statistics_of(np.sqrt(0.5), explained=0.5), NoisePriorConfig()).mean
    assert found.position == pytest.approx(1.0, rel=0.15)


def test_what_else_is_expected_in_residuals_is_no_error_of_the_measurements():
    """Variances of 9 of something else and of 4 of their own, of which they claim 1."""
    found = VarianceFactors().estimate(statistics_beside(9.0, square=9.0 + 4.0, count=200), NoisePriorConfig()).mean
    assert found.pair == pytest.approx((4.0, 4.0), rel=0.1)


def test_errors_that_hide_behind_something_else_are_not_taken_for_small():
    """What is expected besides is 9 times as large as the claim, and turns out not to be there."""
    found = VarianceFactors().estimate(statistics_beside(9.0, square=1.0, count=12), NoisePriorConfig()).mean
    assert min(found.pair) > 0.5


def test_without_measurements_the_claims_stand():
    none = ResidualStatistics(np.empty((0, 6)), np.empty((0, 6, 6)), np.empty((0, 6, 6)))
    found = VarianceFactors().estimate(none, NoisePriorConfig())
    assert (found.mean, found.common) == (VarianceFactors(), VarianceFactors(0.0, 0.0))


def test_what_does_not_scatter_is_common_to_all_anchors():
    assert VarianceFactors().estimate(statistics_of(0.5), NoisePriorConfig()).common.position == pytest.approx(
        0.75, abs=0.05
    )
    assert VarianceFactors().estimate(statistics_of(2.0), NoisePriorConfig()).common.position == pytest.approx(
        1.5, rel=0.15
    )
    assert VarianceComponents().common == VarianceFactors(0.0, 0.0)


def test_claims_that_fit_are_believed_and_nothing_is_common():
    """The residuals' scatter of a few anchors alone would tell of common errors where there are none."""
    found = VarianceFactors().estimate(statistics_of(0.95, count=15), NoisePriorConfig())
    assert found.mean.position == pytest.approx(1.0, abs=0.1)
    assert found.common.position < 0.03


def test_odometry_that_admits_more_drift_is_believed_at_once():
    few = statistics_of(1.0, count=2, explained=0.9)
    assert VarianceFactors().estimate(few, NoisePriorConfig(), reported=VarianceFactors(9.0, 1.0)).mean.position > 6.0


def test_odometry_that_claims_less_drift_is_believed_when_residuals_bear_it_out():
    reported, prior = VarianceFactors(0.1, 0.1), NoisePriorConfig()
    assert VarianceFactors().estimate(statistics_of(1.0, count=20), prior, reported).mean.position == pytest.approx(
        1.0, abs=0.1
    )
    assert VarianceFactors().estimate(statistics_of(0.33, count=20), prior, reported).mean.position == pytest.approx(
        0.1, abs=0.03
    )
    assert VarianceFactors().estimate(statistics_of(0.33, count=1, explained=0.9), prior, reported).mean.position > 0.5


def test_drift_grows_by_the_root_of_its_factors():
    grown = VarianceComponents(odometry=VarianceFactors(4.0, 9.0)).scaled(OdometryNoiseConfig())
    assert grown.position == pytest.approx(2.0 * OdometryNoiseConfig().position)
    assert grown.rotation_deg == pytest.approx(3.0 * OdometryNoiseConfig().rotation_deg)
