"""Plain alignments of odometry to anchors, which the fusion is compared with."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.fusion.baselines import align_causally, last, rigid, single, without_outliers
from testing.fusion_replay import PoseTrack, play, position_errors
from testing.fusion_runs import simulate_run
from testing.fusion_scenario import EXACT, FusionScenario
from visloc_ros.core.geometry import SE3
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser

SHORT = replace(EXACT, duration_s=15.0, rate_hz=5.0)
DRIFTING = replace(SHORT, scale_drift=0.05, rotation_drift_deg=1.0, duration_s=60.0, anchor_sigma=0.01)


def errors_of(run, fit):
    return PoseTrack.of(run.truth).errors_of(align_causally(run, fit))


@pytest.mark.parametrize("fit", [single, last(5), rigid(5)])
def test_without_noise_every_alignment_is_exact_from_the_third_anchor_on(fit):
    run = simulate_run(replace(SHORT, losses=((7.0, 1.0),)), 0)
    errors = errors_of(run, fit)
    third = run.stamps_ns.index(run.anchors[2][0])
    assert not np.isfinite(errors[:third]).any()
    assert np.isfinite(errors[third:35]).all()
    assert not np.isfinite(errors[35:50]).any()
    assert np.isfinite(errors[-1]).all()
    assert np.nanmax(np.abs(errors)) < 1e-6


def test_alignments_know_only_the_anchors_that_have_come():
    run = simulate_run(replace(DRIFTING, delay_s=(3.0, 3.0)), 1)
    truncated = replace(run, anchors=[(t, a) for t, a in run.anchors if t <= run.stamps_ns[150]])
    whole, part = align_causally(run, single).positions, align_causally(truncated, single).positions
    np.testing.assert_array_equal(whole[:151], part[:151])
    assert np.abs(whole[200] - part[200]).max() > 1e-6


def test_pieces_follow_drift_that_one_similarity_cannot():
    run = simulate_run(DRIFTING, 2)
    whole, pieces = (np.nanmedian(np.linalg.norm(errors_of(run, fit)[:, :3], axis=1)) for fit in (single, last(5)))
    assert pieces < 0.6 * whole


def test_a_rigid_alignment_keeps_its_first_scale():
    run = simulate_run(replace(SHORT, scale_drift=0.05, duration_s=40.0), 3)
    track = align_causally(run, rigid(5))
    seen = np.array([pose.odom_from_camera.translation for pose in run.odometry])
    posed = np.flatnonzero(np.isfinite(track.positions[:, 0]))[60:]
    steps = np.linalg.norm(np.diff(track.positions[posed], axis=0), axis=1)
    scales = steps / np.linalg.norm(np.diff(seen[posed], axis=0), axis=1)
    assert np.median(np.abs(scales / np.median(scales) - 1.0)) < 1e-9


def test_anchors_from_one_spot_raise_nothing():
    run = simulate_run(replace(SHORT, path="still"), 0)
    spot = [replace(o, odom_from_camera=SE3.identity()) for o in run.odometry]
    assert not np.isfinite(align_causally(replace(run, odometry=spot), single).positions).any()


def test_wrong_anchors_are_withheld():
    run = simulate_run(replace(SHORT, outlier_share=0.4, duration_s=40.0), 0)
    assert run.outliers
    assert np.nanmax(np.abs(errors_of(run, single))) > 0.1
    assert np.nanmax(np.abs(errors_of(without_outliers(run), single))) < 1e-6


def test_fusion_beats_one_similarity_on_drifting_odometry():
    """Odometry whose scale and heading wander is not one similarity."""
    scenario = FusionScenario(
        rate_hz=5.0, scale_drift=0.03, yaw_bias_deg_per_min=10.0, duration_s=40.0, delay_s=(0.2, 0.4)
    )
    fused_errors, single_errors, anchor_errors = [], [], []
    for seed in range(3):
        run = simulate_run(scenario, seed)
        fused_errors.append(position_errors(run, play(Fuser(FusionConfig(), metric=True), run)))
        distances = np.linalg.norm(errors_of(run, single)[:, :3], axis=1)
        single_errors.append(distances[np.isfinite(distances)])
        truth = dict(zip(run.stamps_ns, run.truth, strict=True))
        for _, anchor in run.anchors:
            seen, true = anchor.map_from_camera.translation, truth[anchor.stamp_ns].translation
            anchor_errors.append(np.linalg.norm(seen - true))
    ours = np.median(np.concatenate(fused_errors))
    assert ours < 0.6 * np.median(np.concatenate(single_errors))
    assert ours < 1.5 * np.median(anchor_errors)
