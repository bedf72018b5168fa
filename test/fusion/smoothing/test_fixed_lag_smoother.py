from dataclasses import replace

import numpy as np
import pytest

from testing.fusion_runs import simulate_run
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import AnchorPose
from visloc_ros.fusion.anchor_fix import make_fix
from visloc_ros.fusion.config import AnchorNoiseConfig, FusionConfig, NoisePriorConfig
from visloc_ros.fusion.initialization.sim3_alignment import PosePair, align
from visloc_ros.fusion.odometry_model.history import OdometryHistory
from visloc_ros.fusion.smoothing.fixed_lag_smoother import FixedLagSmoother

WIDE = FusionConfig(window=60)
SCENARIO = FusionScenario(duration_s=30.0, rate_hz=5.0, delay_s=(0.0, 0.0))


def fixes_of(scenario, seed, config=WIDE):
    run = simulate_run(scenario, seed)
    history = OdometryHistory(1000.0, 1.0)
    for odometry in run.odometry:
        history.append(odometry)
    fixes = [make_fix(history.at(a.stamp_ns), a, config.anchor_noise) for _, a in run.anchors]
    return run, history, fixes


def smoother_of(config, fixes):
    start = fixes[:3]
    pairs = [
        PosePair(f.stamp_ns, f.anchor.map_from_camera, f.sample.odom_from_camera, f.covariance, f.risk) for f in start
    ]
    smoother = FixedLagSmoother(config, start, align(pairs).map_from_odom)
    for fix in fixes[3:]:
        smoother.add_anchor(fix)
    return smoother


def test_a_short_window_remembers_what_a_long_one_knows():
    """Marginals of old anchors carry their knowledge: pose, scale and covariance are those of the full batch."""
    _, history, fixes = fixes_of(SCENARIO, 1)
    as_claimed = NoisePriorConfig(trust=1.0)
    odometry_noise, anchor_noise = (
        replace(WIDE.odometry_noise, prior=as_claimed),
        AnchorNoiseConfig(degrees_of_freedom=1e6, prior=as_claimed),
    )
    config = replace(WIDE, odometry_noise=odometry_noise, anchor_noise=anchor_noise)
    full, short = smoother_of(config, fixes).at(history.latest), None
    short = smoother_of(replace(config, window=6), fixes).at(history.latest)
    assert short.state.map_from_camera.is_close(full.state.map_from_camera, translation=5e-3, degrees=0.1)
    assert short.state.log_scale == pytest.approx(full.state.log_scale, abs=0.01)
    np.testing.assert_allclose(np.diag(short.covariance), np.diag(full.covariance), rtol=0.05)


def test_scale_stays_known_while_the_camera_stands_longer_than_the_window():
    _, history, fixes = fixes_of(replace(SCENARIO, duration_s=10.0), 2)
    config = replace(WIDE, window=5)
    smoother = smoother_of(config, fixes)
    before = smoother.at(history.latest)
    last, rng = history.latest, np.random.default_rng(0)
    for second in range(1, 16):
        sample = replace(last, stamp_ns=last.stamp_ns + second * 1_000_000_000)
        true = before.state.map_from_camera
        seen = SE3(true.rotation, true.translation + rng.normal(0, 0.03, 3))
        anchor = AnchorPose(sample.stamp_ns, seen, fixes[0].anchor.covariance, 40, 80, 1.0)
        smoother.add_anchor(make_fix(sample, anchor, config.anchor_noise))
    after = smoother.at(sample)
    assert after.state.log_scale == pytest.approx(before.state.log_scale, abs=0.05)
    assert after.covariance[6, 6] < 1.5 * before.covariance[6, 6] + 1e-3
    assert np.trace(after.covariance[:3, :3]) < np.trace(before.covariance[:3, :3])


def test_residuals_show_how_optimistic_the_anchors_are():
    _, _, honest = fixes_of(SCENARIO, 3)
    _, _, boastful = fixes_of(replace(SCENARIO, reported_sigma_factor=0.2), 3)
    assert smoother_of(WIDE, honest).variance_components.anchors.position < 2.0
    found = smoother_of(WIDE, boastful).variance_components.anchors
    assert 8.0 < found.position < 40.0  # the variance is 25 times the claim
    assert 8.0 < found.rotation < 40.0


def test_an_anchor_that_does_not_fit_pulls_little():
    _, history, fixes = fixes_of(SCENARIO, 4)
    clean = smoother_of(WIDE, fixes).at(history.latest).state.map_from_camera
    pose = fixes[-2].anchor.map_from_camera
    shoved = SE3(rotation_matrix([0, 0, 0.1]) @ pose.rotation, pose.translation + np.array([0.4, 0, 0]))
    wrong = replace(fixes[-2], anchor=replace(fixes[-2].anchor, map_from_camera=shoved))
    pulled = smoother_of(WIDE, [*fixes[:-2], wrong, fixes[-1]]).at(history.latest).state.map_from_camera
    assert np.linalg.norm(pulled.translation - clean.translation) < 0.06


def test_reach_ends_where_the_window_begins():
    _, _, fixes = fixes_of(SCENARIO, 5)
    smoother = smoother_of(replace(WIDE, window=5), fixes[1:])
    assert smoother.reaches(fixes[-5].stamp_ns)
    assert not smoother.reaches(fixes[0].stamp_ns)
    assert smoother_of(WIDE, fixes[1:]).reaches(fixes[0].stamp_ns)
    assert smoother.count_since(fixes[-3].stamp_ns) == 3
    assert smoother.latest_fix.stamp_ns == fixes[-1].stamp_ns
