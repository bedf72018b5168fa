"""Loops by nearness: which pairs are found, how long their features last, and what global adjustment makes of them."""

import numpy as np
import pytest
import torch
from dpvo_journey import TurningOracle
from dpvo_oracle import INTRINSICS, sideways_path

from visloc_dpvo import DpvoConfig, lie, projection
from visloc_dpvo.loops import (
    GlobalAdjustment,
    candidate_pairs,
    find_pairs,
    normalise,
    score_pairs,
    select_pairs,
)

FRAMES = 64
SMALL = {"preset": "cpu", "patches_per_frame": 8, "keyframe_thresh": 0.5}


def out_and_back():
    way = sideways_path(FRAMES // 2)
    return way + way[::-1]


@pytest.fixture(scope="module")
def closed():
    return adjusted_run(TurningOracle(out_and_back(), loop_closure=True, **SMALL))


@pytest.fixture(scope="module")
def unclosed():
    return adjusted_run(TurningOracle(out_and_back(), **SMALL))


def adjusted_run(oracle):
    """Run to the end; ``adjustments`` lists frames and the report of each global adjustment."""
    oracle.adjustments = []
    watched = oracle.front_end._global_adjustment
    run = watched.run

    def record(state):
        report = run(state)
        oracle.adjustments.append((state.num_frames, report))
        return report

    watched.run = record
    oracle.run()
    oracle.finish()
    return oracle


def end_gap(oracle):
    """Distance between the two ends of a path that returns, over its length one way."""
    state = oracle.state
    centres = lie.inverse(state.poses[: state.num_frames])[:, :3]
    away = (centres - centres[0]).norm(dim=1)
    return float(away[-1] / away.max())


def test_the_greedy_selection_meets_the_golden_value():
    scores = [5.0, 4.0, 3.0, 9.0, float("inf"), 6.0]
    pairs = select_pairs(scores, [1, 2, 3, 10, 4, 1], [40, 40, 40, 41, 45, 30])
    assert pairs == [(3, 40), (1, 40), (10, 41)]


def test_scores_of_a_thousand_are_no_loops_and_pairs_are_bounded():
    assert select_pairs([999.9, 1000.0], [0, 5], [40, 40]) == [(0, 40)]
    many = range(0, 4000, 2)
    assert len(select_pairs([1.0] * len(many), many, [5000] * len(many))) == 1000


def test_candidates_are_old_sources_and_recent_targets():
    ii, jj = candidate_pairs(100, patch_frames=1000, map_frames=36, config=DpvoConfig())
    assert (int(ii.min()), int(ii.max())) == (0, 65)  # 30 frames before the last target
    assert (int(jj.min()), int(jj.max())) == (85, 95)
    assert int((jj - ii).min()) == 30


@pytest.mark.parametrize("frames", [1, 22, 34])
def test_there_are_no_candidates_at_the_beginning(frames):
    ii, jj = candidate_pairs(frames, patch_frames=1000, map_frames=36, config=DpvoConfig())
    assert len(ii) == len(jj) == 0


def test_features_of_both_frames_last_until_the_last_update():
    config = DpvoConfig(max_edge_age=1000, global_opt_freq=500)
    frames, patch_frames, map_frames = 1300, 100, 36
    ii, jj = candidate_pairs(frames, patch_frames, map_frames, config)
    frames_at_last_update = int(jj.max()) + config.resolved().optimization_window
    assert int(ii.min()) == frames_at_last_update - patch_frames
    assert int(jj.min()) == frames_at_last_update - map_frames


def test_the_age_of_a_loop_is_limited():
    ii, _ = candidate_pairs(300, patch_frames=1000, map_frames=36, config=DpvoConfig(max_edge_age=50))
    assert int(ii.min()) == 300 - 22 - 50


@pytest.mark.parametrize(("behind", "found"), [(4, True), (5, False), (6, False)])
def test_more_than_three_quarters_of_the_patches_must_lie_before_the_camera(behind, found):
    patches = torch.zeros(2, 20, 3, 3, 3)
    patches[:, :, 0], patches[:, :, 1] = INTRINSICS[2] + 1.0, INTRINSICS[3]
    patches[:, :, 2] = 0.5
    patches[0, :behind, 2] = 2.0  # half a unit away
    poses = lie.identity(2)
    poses[1, 2] = -0.6  # and the camera has gone further
    (score,) = score_pairs(poses, patches, INTRINSICS.expand(2, 4), torch.tensor([0]), torch.tensor([1]))
    moved = 1.0 / (1.0 - 0.6 * 0.5) - 1.0
    assert float(score) == (pytest.approx(moved, rel=1e-5) if found else float("inf"))


def test_turning_on_the_spot_counts_half():
    patches = torch.zeros(2, 4, 3, 3, 3)
    patches[:, :, 0], patches[:, :, 1], patches[:, :, 2] = *INTRINSICS[2:], 0.5
    poses = lie.identity(2)
    poses[1] = lie.exp(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.1, 0.0]))
    (score,) = score_pairs(poses, patches, INTRINSICS.expand(2, 4), torch.tensor([0]), torch.tensor([1]))
    assert float(score) == pytest.approx(0.5 * float(INTRINSICS[0]) * np.tan(0.1), rel=1e-4)


def test_scores_do_not_depend_on_how_many_are_computed_at_once(closed, monkeypatch):
    state = closed.state
    ii, jj = torch.arange(0, 20), torch.arange(40, 60)
    scores = score_pairs(state.poses, state.patches, state.intrinsics, ii, jj)
    monkeypatch.setattr("visloc_dpvo.loops._EDGES_AT_ONCE", 30)
    assert torch.allclose(score_pairs(state.poses, state.patches, state.intrinsics, ii, jj), scores)


def test_found_pairs_are_where_the_path_returns(closed):
    pairs = find_pairs(closed.state, DpvoConfig(loop_closure=True, backend_thresh=2.0, **SMALL))
    ids = closed.state.frame_ids
    assert pairs
    assert all(abs(ids[i] + ids[j] - (FRAMES - 1)) <= 2 for i, j in pairs)


def test_a_loop_lowers_the_error_at_the_end_of_the_path(closed, unclosed):
    assert end_gap(unclosed) > 0.03
    assert end_gap(closed) < 0.1 * end_gap(unclosed)
    assert closed.kept_error() < 0.4 * unclosed.kept_error()


def test_global_adjustment_runs_once_a_frame_and_at_the_end_every_time(closed):
    frames = [count for count, _ in closed.adjustments]
    during, at_the_end = frames[:-12], frames[-12:]
    assert at_the_end == [FRAMES] * 12
    assert len(during) == len(set(during)) >= 5
    assert all(report.failure is None and report.iterations == 2 for _, report in closed.adjustments)


def test_without_loops_nothing_is_archived_and_no_global_adjustment_runs(unclosed):
    assert unclosed.adjustments == []
    assert unclosed.state.archived is None


def test_after_a_find_the_next_search_waits(closed):
    loops = closed.front_end._loops
    assert loops.add(closed.state) == 0
    assert loops.add(closed.state, at_the_end=True) > 0


def test_loop_measurements_begin_without_memory(closed):
    state = closed.state
    before = len(state.edges)
    pairs = closed.front_end._loops.add(state, at_the_end=True)
    added = state.edges[torch.arange(before, len(state.edges))]
    assert len(added) == pairs * state.patches_per_frame
    assert not added.net.any()
    assert not added.weight.any()
    assert bool((added.jj - added.ii >= 30).all())


def test_a_new_frame_is_adjusted_even_if_the_count_has_been_there_before(closed):
    adjustment, state = GlobalAdjustment(DpvoConfig(loop_closure=True, **SMALL)), closed.state
    adjustment.run(state)
    assert not adjustment.is_due(state)
    assert adjustment.is_due(state, at_the_end=True)
    state.frame_ids[-1] += 1
    assert adjustment.is_due(state)


def test_normalising_changes_no_projection_and_no_pose_given_out(unclosed):
    state = unclosed.state
    state.odom_from_world = type(state.odom_from_world).identity()
    generator = torch.Generator().manual_seed(0)
    kk = torch.randint(0, FRAMES * state.patches_per_frame, (500,), generator=generator)
    ii, jj = kk // state.patches_per_frame, torch.randint(0, FRAMES, (500,), generator=generator)
    arguments = state.intrinsics, ii, jj, kk
    before = projection.reproject(state.poses, state.flat_patches, *arguments)
    given = state.trajectory()
    normalise(state)
    after = projection.reproject(state.poses, state.flat_patches, *arguments)
    near = before.abs().amax(dim=(1, 2, 3)) < 500.0
    assert torch.allclose(after[near], before[near], rtol=1e-4, atol=1e-3)
    assert float(state.inverse_depths.mean()) == pytest.approx(1.0, rel=1e-5)
    assert torch.allclose(state.poses[0], lie.identity(), atol=1e-6)
    assert state.trajectory().stamps_ns.tolist() == given.stamps_ns.tolist()
    assert all(a.is_close(b, 1e-4, 1e-2) for a, b in zip(given.poses, state.trajectory().poses, strict=True))
