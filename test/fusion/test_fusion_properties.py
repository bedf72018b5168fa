"""What holds for every stream of odometry and anchors, however wrong, late or broken."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.fusion_replay import FollowedPoints, largest_odom_jump, play
from testing.fusion_runs import simulate_run
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Reason, Rejection, State, Support
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser

SECOND = 1_000_000_000
SHORT = FusionScenario(duration_s=10.0, rate_hz=4.0, anchor_period_s=0.75)
FEW = settings(max_examples=16, deadline=None, derandomize=True)

paths = st.sampled_from(["line", "circle", "eight", "stairs", "stop_and_go", "turns", "still"])
intervals = st.lists(st.tuples(st.floats(0.0, 9.0), st.floats(0.3, 3.0)), max_size=2).map(tuple)
scenarios = st.builds(
    replace,
    st.just(SHORT),
    path=paths,
    losses=intervals,
    gaps=intervals,
    outlier_share=st.floats(0.0, 0.4),
    alias_share=st.floats(0.0, 0.3),
    delay_s=st.sampled_from([(0.0, 0.1), (1.0, 1.0), (0.0, 8.0)]),
    reported_sigma_factor=st.sampled_from([0.1, 1.0, 3.0]),
    place_sigma=st.sampled_from([0.0, 0.1]),
    jitter=st.sampled_from([0.0, 0.01]),
    risk=st.sampled_from([(0.03, 0.03), (0.001, 0.05)]),
    tracked=st.booleans(),
)
seeds = st.integers(0, 10_000)
damages = st.dictionaries(
    st.integers(0, 12), st.sampled_from(["nan", "far", "negative", "mirrored", "refused", "certain"]), max_size=4
)


def damaged(anchor, damage):
    """An anchor as no engine should ever give it."""
    pose = anchor.map_from_camera
    if damage == "nan":
        return replace(anchor, map_from_camera=SE3(pose.rotation, [np.nan, 0.0, 0.0]))
    if damage == "far":
        return replace(anchor, map_from_camera=SE3(pose.rotation, pose.translation + 1e6))
    if damage == "negative":
        return replace(anchor, covariance=-anchor.covariance)
    if damage == "mirrored":
        return replace(anchor, map_from_camera=SE3(-pose.rotation, pose.translation))
    if damage == "certain":
        return replace(anchor, covariance=np.zeros((6, 6)))
    return Rejection(anchor.stamp_ns, Reason.FEW_INLIERS)


def played(scenario, seed, damage):
    run = simulate_run(scenario, seed)
    anchors = [(arrival, damaged(a, damage[i]) if i in damage else a) for i, (arrival, a) in enumerate(run.anchors)]
    run = replace(run, anchors=anchors)
    followed = FollowedPoints(scenario, run, seed) if scenario.tracked else None
    return run, play(Fuser(FusionConfig(), metric=True), run, followed=followed)


@given(scenarios, seeds, damages)
@settings(FEW, max_examples=24)
def test_odom_moves_as_the_odometry_does_and_an_estimate_is_whole_or_absent_with_its_reason(scenario, seed, damage):
    """Each increment is the odometry's times the scale known before; corrections live in ``map_from_odom`` alone."""
    run, estimates = played(scenario, seed, damage)
    assert largest_odom_jump(run, estimates) < 1e-9
    for estimate in estimates:
        parts = (estimate.map_from_odom, estimate.odom_from_camera, estimate.covariance, estimate.scale)
        if estimate.map_from_camera is None:
            assert all(part is None for part in parts)
            assert estimate.state is not State.LOCALIZED
            assert estimate.reason is not None
            assert not estimate.metric
            continue
        composed = estimate.map_from_odom.matrix @ estimate.odom_from_camera.matrix
        np.testing.assert_allclose(
            estimate.map_from_camera.matrix, composed, rtol=0.0, atol=1e-12 * np.abs(composed).max()
        )
        rotation, covariance = estimate.map_from_camera.rotation, estimate.covariance
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9, atol=1e-15)
        assert np.linalg.eigvalsh(covariance)[0] > 0.0
        if estimate.scale is None:  # followed map points alone lead
            assert estimate.support is Support.MAP_TRACKING
            continue
        assert estimate.scale > 0.0
        assert np.isfinite(estimate.scale)


@given(seeds)
@settings(FEW, max_examples=5)
def test_what_comes_later_changes_nothing_that_was_said(seed):
    """Causal: estimates up to a frame are those of the run that ends there."""
    run = simulate_run(replace(SHORT, outlier_share=0.2), seed)
    half = len(run.stamps_ns) // 2
    begun = replace(run, stamps_ns=run.stamps_ns[:half], truth=run.truth[:half], odometry=run.odometry[:half])
    whole, part = (play(Fuser(FusionConfig(), metric=True), one) for one in (run, begun))
    for a, b in zip(part, whole[:half], strict=True):
        assert (a.map_from_camera is None) == (b.map_from_camera is None)
        assert a.map_from_camera is None or a.map_from_camera.is_close(b.map_from_camera, 0.0, 0.0)
