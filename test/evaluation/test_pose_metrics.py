"""Errors, statistics, recall and NEES against values worked out by hand."""

import numpy as np
import pytest
from synthetic_run import perturbed

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.evaluation.consistency import Consistency
from visloc_ros.evaluation.metrics import (
    NEES_BAND,
    Statistics,
    nees,
    pose_errors,
    position_error,
    recall,
    rotation_error_deg,
)


def turned(degrees, translation=(0.0, 0.0, 0.0), axis=(0.0, 0.0, 1.0)):
    return SE3(rotation_matrix(np.radians(degrees) * np.array(axis)), translation)


def test_position_error_is_the_distance_of_the_centres():
    assert position_error(turned(50, (1.0, 2.0, 3.0)), turned(10, (1.0, 5.0, 7.0))) == pytest.approx(5.0)


@pytest.mark.parametrize("degrees", [0.0, 1e-4, 37.0, 180.0])
def test_rotation_error_is_the_angle_between_orientations(degrees):
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    base = turned(25.0, axis=(1.0, 0.0, 0.0))
    estimate = SE3(turned(degrees, axis=axis).rotation @ base.rotation, np.zeros(3))
    assert rotation_error_deg(estimate, base) == pytest.approx(degrees, abs=1e-7)


def test_statistics_of_known_numbers():
    statistics = Statistics.of([1.0, 2.0, 3.0, 4.0, 10.0])
    assert (statistics.count, statistics.median, statistics.mean, statistics.max) == (5, 3.0, 4.0, 10.0)
    assert statistics.rmse == pytest.approx(np.sqrt(26.0))
    assert statistics.p95 == pytest.approx(4.0 + 0.8 * 6.0)
    assert (statistics.min, statistics.sse) == (1.0, pytest.approx(130.0))
    assert statistics.std == pytest.approx(np.std([1.0, 2.0, 3.0, 4.0, 10.0]))


def test_statistics_leave_out_what_is_unknown():
    assert Statistics.of([np.nan, 2.0, np.inf]).count == 1
    assert Statistics.of([np.nan]) is None
    assert Statistics.of([]) is None


def test_a_missing_pose_has_no_error():
    errors = pose_errors([turned(0), None, turned(0)], [turned(2), turned(0), None])
    assert errors[0] == pytest.approx([0.0, 2.0])
    assert np.isnan(errors[1:]).all()


def test_recall_counts_missing_poses_as_failures():
    """Percent of ALL queries."""
    errors = np.array([[0.04, 1.0], [0.04, 6.0], [0.2, 1.9], [0.4, 4.0], [np.nan, np.nan]])
    rows = recall(errors, num_queries=8)
    assert [(row.distance_m, row.angle_deg) for row in rows] == [(0.05, 5.0), (0.25, 2.0), (0.5, 5.0), (5.0, 10.0)]
    assert [row.percent for row in rows] == [12.5, 25.0, 37.5, 50.0]


def test_recall_takes_other_thresholds_and_no_queries():
    assert recall(np.array([[1.0, 1.0]]), 1, [(1.0, 1.0)])[0].percent == 100.0
    assert recall(np.empty((0, 2)), 0, [(1.0, 1.0)])[0].percent == 0.0


def test_nees_by_hand():
    truth = turned(0, (1.0, 0.0, 0.0))
    estimate = turned(np.degrees(0.2), (1.3, 0.0, 0.0))
    covariance = np.diag([0.09, 1.0, 1.0, 1.0, 1.0, 0.01])
    assert nees(estimate, truth, covariance) == pytest.approx(1.0 + 4.0)


def test_nees_uses_the_axes_of_the_parent_frame():
    """``R = exp(d[3:]) @ R_hat``: an error about the map's z axis is weighed by the map's z variance."""
    estimate = turned(90.0, axis=(1.0, 0.0, 0.0))
    truth = SE3(turned(np.degrees(0.1)).rotation @ estimate.rotation, np.zeros(3))
    assert nees(estimate, truth, np.diag([1, 1, 1, 1, 1, 0.01])) == pytest.approx(1.0)


def test_nees_of_drawn_errors_follows_the_chi_square_law():
    random = np.random.default_rng(11)
    factor = random.normal(size=(6, 6)) * 0.02 + 0.01 * np.eye(6)
    truth = turned(40.0, (1.0, -2.0, 0.5), (0.0, 0.6, 0.8))
    draws = [nees(perturbed(truth, factor @ random.normal(size=6)), truth, factor @ factor.T) for _ in range(3000)]
    assert np.mean(draws) == pytest.approx(6.0, abs=0.25)
    assert Consistency.of(draws).share_in_band == pytest.approx(0.95, abs=0.015)
    assert np.allclose(NEES_BAND, (1.2373, 14.4494), atol=1e-4)


def test_overconfident_covariances_fall_out_of_the_band():
    random = np.random.default_rng(5)
    truth = turned(0)
    draws = [nees(perturbed(truth, random.normal(size=6) * 0.01), truth, np.eye(6) * 1e-5) for _ in range(500)]
    assert np.mean(draws) > 40.0
    assert Consistency.of(draws).share_in_band < 0.2


@pytest.mark.parametrize("covariance", [np.zeros((6, 6)), np.full((6, 6), np.nan), -np.eye(6)])
def test_a_covariance_that_is_none_gives_no_nees(covariance):
    assert np.isnan(nees(turned(0), turned(1), covariance))
    assert Consistency.of([np.nan]) is None
