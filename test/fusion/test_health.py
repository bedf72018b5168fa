"""LOCALIZED, DEGRADED, LOST: each limit alone is enough, and no number hides a loss."""

import numpy as np
import pytest

from visloc_ros.core.types import Reason, State, Support
from visloc_ros.fusion.config import StateConfig
from visloc_ros.fusion.health import (
    PoseSupport,
    inflated_covariance,
    judge_absence,
    judge_pose,
    judge_support,
    largest_sigma,
    reason_for,
)

CONFIG = StateConfig()
SECOND = 1_000_000_000


def support_of(
    distance=0.1, age_s=0.1, sigma=0.01, sigma_deg=0.1, is_contradicted=False, is_tracked=False, is_confirmed=True
):
    variances = np.repeat([sigma**2, np.deg2rad(sigma_deg) ** 2], 3)
    return PoseSupport(distance, round(age_s * SECOND), np.diag(variances), is_contradicted, is_tracked, is_confirmed)


@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        ({}, State.LOCALIZED, None),
        ({"distance": 6.0}, State.DEGRADED, Reason.STALE),
        ({"age_s": 21.0}, State.DEGRADED, Reason.STALE),
        ({"sigma": 0.3}, State.DEGRADED, Reason.UNCERTAIN),
        ({"sigma_deg": 12.0}, State.DEGRADED, Reason.UNCERTAIN),
        ({"is_contradicted": True}, State.DEGRADED, Reason.ODOMETRY_DISAGREES),
        ({"is_confirmed": False}, State.DEGRADED, Reason.UNCERTAIN),
        ({"is_confirmed": False, "is_tracked": True}, State.LOCALIZED, None),
        ({"distance": 21.0, "is_tracked": True}, State.DEGRADED, Reason.STALE),
        ({"age_s": 61.0, "is_tracked": True}, State.DEGRADED, Reason.STALE),
        ({"sigma": 1.1, "is_tracked": True}, State.LOST, Reason.UNCERTAIN),
        ({"distance": 21.0}, State.LOST, Reason.STALE),
        ({"age_s": 61.0}, State.LOST, Reason.STALE),
        ({"sigma": 1.1}, State.LOST, Reason.UNCERTAIN),
        ({"sigma_deg": 50.0}, State.LOST, Reason.UNCERTAIN),
        ({"sigma": 1.1, "is_contradicted": True}, State.LOST, Reason.ODOMETRY_DISAGREES),
        ({"distance": float("nan")}, State.LOST, Reason.STALE),
        ({"sigma": float("nan")}, State.LOST, Reason.UNCERTAIN),
        ({"sigma_deg": float("inf")}, State.LOST, Reason.UNCERTAIN),
    ],
)
def test_each_limit_alone_decides(change, state, reason):
    known = support_of(**change)
    assert judge_pose(known, CONFIG) is state
    assert reason_for(state, known, CONFIG) is reason


@pytest.mark.parametrize(
    ("change", "support"),
    [
        ({}, Support.ANCHOR),
        ({"distance": 6.0}, Support.ODOMETRY),
        ({"age_s": 21.0}, Support.ODOMETRY),
        ({"age_s": 21.0, "is_tracked": True}, Support.MAP_TRACKING),
    ],
)
def test_a_pose_states_its_support(change, support):
    assert judge_support(support_of(**change), CONFIG) is support


def test_a_frame_without_a_pose_is_never_localized():
    assert judge_absence(0, CONFIG) is State.DEGRADED
    assert judge_absence(round(CONFIG.lost_without_pose_s * SECOND) + 1, CONFIG) is State.LOST


def test_the_largest_sigma_is_that_of_the_worst_direction():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    assert largest_sigma(turn @ np.diag([0.01, 0.04, 0.25]) @ turn.T) == pytest.approx(0.5)


def test_a_lost_pose_is_given_at_least_the_covariance_that_made_it_lost():
    known = np.diag([0.04, 0.01, 0.01, 1e-4, 1e-4, 1e-4])
    covariance = inflated_covariance(known, age_s=1.0, distance=1.0, config=CONFIG)
    assert largest_sigma(covariance[:3, :3]) == pytest.approx(CONFIG.lost_sigma)
    np.testing.assert_allclose(covariance / covariance[0, 0], known / known[0, 0])
    later = inflated_covariance(known, age_s=2 * CONFIG.lost_age_s, distance=1.0, config=CONFIG)
    assert largest_sigma(later[:3, :3]) == pytest.approx(2 * CONFIG.lost_sigma)
    farther = inflated_covariance(known, age_s=1.0, distance=3 * CONFIG.lost_distance, config=CONFIG)
    assert largest_sigma(farther[:3, :3]) == pytest.approx(3 * CONFIG.lost_sigma)
    unsure = np.eye(6) * 25.0
    assert np.array_equal(inflated_covariance(unsure, 1.0, 1.0, CONFIG), unsure)
