"""What simulated runs through the fusion are judged by: jumps of odom, whitened errors."""

from dataclasses import replace

import numpy as np
import pytest

from testing.fusion_replay import largest_odom_jump, whitened_errors
from testing.fusion_runs import simulate_run
from testing.fusion_scenario import EXACT
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import Estimate, OdometryPose, State

SHORT = replace(EXACT, duration_s=15.0, rate_hz=5.0)


def estimates_of(run):
    """Estimates whose odom is the truth, and whose map is, too."""
    covariance = np.eye(6)
    return [
        Estimate(stamp, State.LOCALIZED, None, SE3.identity(), pose, covariance, scale=scale, metric=True)
        for stamp, pose, scale in zip(run.stamps_ns, run.truth, run.scales, strict=True)
    ]


def test_a_jump_of_odom_is_found_and_a_scaled_increment_is_none():
    run = simulate_run(SHORT, 0)
    estimates = estimates_of(run)
    assert largest_odom_jump(run, estimates) < 1e-9
    shift = SE3(np.eye(3), np.array([0.0, 0.02, 0.0]))
    moved = [*estimates[:40], *(replace(e, odom_from_camera=shift @ e.odom_from_camera) for e in estimates[40:])]
    assert largest_odom_jump(run, moved) == pytest.approx(0.02)
    turn = SE3(rotation_matrix([0.0, 0.0, 0.03]), np.zeros(3))
    turned = [*estimates[:-1], replace(estimates[-1], odom_from_camera=estimates[-1].odom_from_camera @ turn)]
    assert largest_odom_jump(run, turned) == pytest.approx(0.03)


def test_from_one_segment_to_the_next_odom_must_stay():
    run = simulate_run(replace(SHORT, losses=((7.0, 1.0),)), 0)
    estimates = [
        e if isinstance(o, OdometryPose) else replace(e, odom_from_camera=None)
        for e, o in zip(estimates_of(run), run.odometry, strict=True)
    ]
    moved = np.linalg.norm(run.truth[40].translation - run.truth[34].translation)
    assert largest_odom_jump(run, estimates) == pytest.approx(moved, rel=0.1)


def test_whitening_leaves_the_first_three_errors_to_the_position():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    covariance, error = root @ root.T, rng.normal(size=6)
    estimate = Estimate(0, State.LOCALIZED, covariance=covariance)
    (white,) = whitened_errors(error[None], [estimate])
    assert white @ white == pytest.approx(error @ np.linalg.solve(covariance, error))
    assert white[:3] @ white[:3] == pytest.approx(error[:3] @ np.linalg.solve(covariance[:3, :3], error[:3]))
