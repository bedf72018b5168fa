from collections import Counter

import numpy as np
import pytest
import torch
from dpvo_oracle import INTRINSICS, STEP_NS, Oracle, ate, sideways_path

from visloc_dpvo import frontend, lie
from visloc_dpvo.frontend import gradient_centres, random_centres
from visloc_ros.core.geometry import SE3

ALWAYS_DROP, NEVER_DROP = 1e6, -1.0
STEADY = 36  # frames after which as many measurements begin as end


@pytest.fixture(scope="module")
def undropped():
    return finished(Oracle(sideways_path(), patches_per_frame=8, keyframe_thresh=NEVER_DROP).run())


@pytest.fixture(scope="module")
def dropped():
    """A run with the published threshold."""
    return finished(Oracle(sideways_path(), patches_per_frame=8).run())


def finished(oracle):
    """A run taken to its end, and its errors before and after the last updates."""
    causal = oracle.kept_error()
    oracle.finish()
    oracle.errors = {"causal": causal, "finished": oracle.kept_error()}
    return oracle


def pairs_of(edges, patches_per_frame):
    """How often each pair of frames is measured, in whole frames of patches."""
    counted = Counter(zip(edges.ii.tolist(), edges.jj.tolist(), strict=True))
    assert all(number % patches_per_frame == 0 for number in counted.values())
    return {pair: number // patches_per_frame for pair, number in counted.items()}


def expected_pairs(num_frames, lifetime, removal):
    """Pairs of frames that are still measured after many, without a dropped one."""
    return {
        (i, j)
        for i in range(num_frames - removal, num_frames)
        for j in range(max(i - lifetime + 1, 0), min(i + lifetime, num_frames))
    }


def test_the_true_path_is_found_when_no_frame_is_dropped(undropped):
    """Accuracy 3e-5 at the end, on this path of 10 units."""
    assert undropped.state.num_frames > 45
    assert undropped.errors["causal"] < 3e-4
    assert undropped.errors["finished"] < 6e-5


def test_the_true_path_is_found_when_keyframes_are_dropped(dropped):
    assert sum(step.dropped_keyframe for step in dropped.steps) > 25
    assert dropped.errors["causal"] < 1e-3
    assert dropped.errors["finished"] < 5e-4


def test_the_true_path_is_found_when_every_keyframe_is_dropped():
    """Accuracy 4e-7 at the end. Before it, the newest patches had but one update to find their depths."""
    oracle = finished(Oracle(sideways_path(), patches_per_frame=8, keyframe_thresh=ALWAYS_DROP).run())
    assert oracle.state.num_frames == 8
    assert oracle.errors["causal"] < 2e-3
    assert oracle.errors["finished"] < 2e-6


def test_every_input_has_its_place_in_the_trajectory(dropped):
    """Kept frames exactly; dropped ones as far as was known when they were dropped, so worst at the start."""
    oracle = dropped
    trajectory = oracle.state.trajectory()
    poses = trajectory.poses
    assert trajectory.stamps_ns.tolist() == oracle.stamps_ns
    assert oracle.state.num_frames < 20
    assert ate(oracle.path, trajectory.positions) < 0.06
    turned = [true.rotation.T @ found.rotation for true, found in zip(oracle.path, poses, strict=True)]
    assert np.abs(np.array(turned) - turned[0]).max() < 0.02


def test_the_same_seed_gives_the_same_poses():
    one, other = (Oracle(sideways_path(11, 2.2), patches_per_frame=4, seed=5).run() for _ in range(2))
    assert torch.equal(one.state.poses, other.state.poses)
    assert torch.equal(one.state.patches, other.state.patches)


def test_steady_state_has_497_pairs_of_frames_at_the_update_and_472_after_it(undropped):
    """With the windows of the default preset."""
    at_update = {step.adjustment.edges for step in undropped.steps[STEADY:]}
    assert at_update == {497 * 8}
    assert len(undropped.state.edges) == 472 * 8


def test_every_pair_is_measured_once_and_new_frames_in_themselves(undropped):
    pairs = pairs_of(undropped.state.edges, 8)
    assert set(pairs) == expected_pairs(undropped.state.num_frames, lifetime=13, removal=22)
    assert set(pairs.values()) == {1}


def test_the_source_of_every_edge_is_that_of_its_patch(dropped):
    edges = dropped.state.edges
    assert torch.equal(edges.ii, edges.kk // 8)
    assert int(edges.jj.max()) == dropped.state.num_frames - 1


def test_always_dropping_keeps_the_number_of_frames_and_their_ids_increase():
    oracle = Oracle(sideways_path(24, 5.0), patches_per_frame=8, keyframe_thresh=ALWAYS_DROP)
    counts = []
    for _ in range(24):
        oracle.run(1)
        counts.append(oracle.state.num_frames)
        assert oracle.state.frame_ids == sorted(set(oracle.state.frame_ids))
        assert len(oracle.state.frame_ids) == oracle.state.num_frames
    assert counts[-1] == counts[12] == 8
    assert set(pairs_of(oracle.state.edges, 8).values()) == {1}


def test_without_loop_closing_nothing_is_archived(undropped):
    """The archive of a long run would have no end."""
    assert undropped.state.archived is None


def test_a_full_buffer_forgets_its_oldest_half_and_the_path_goes_on():
    path = sideways_path(72, 14.0)
    oracle = Oracle(path, buffer_size=64, preset="cpu", patches_per_frame=4, keyframe_thresh=NEVER_DROP).run()
    state = oracle.state
    assert state.num_forgotten == 32
    assert state.num_forgotten + state.num_frames == sum(step.kept for step in oracle.steps) > 68
    assert state.trajectory().stamps_ns.tolist() == oracle.stamps_ns
    assert ate(path, state.trajectory().positions) < 0.08
    assert set(pairs_of(state.edges, 4)) == expected_pairs(state.num_frames, lifetime=7, removal=10)


def test_a_camera_that_stands_still_never_starts_and_ends_normally():
    """Nothing recurses, and the last updates run on what there is."""
    oracle = Oracle([SE3.identity()] * 300, patches_per_frame=4).run()
    assert not oracle.front_end.started
    assert oracle.state.num_frames == 1
    assert sum(step.kept for step in oracle.steps) == 1
    oracle.finish()
    trajectory = oracle.state.trajectory()
    assert len(trajectory) == 300
    assert all(pose.is_close(SE3.identity()) for pose in trajectory.poses[::100])


def test_a_start_after_standing_still():
    still = [SE3.identity()] * 30
    oracle = Oracle([*still, *sideways_path(12, 2.4)], patches_per_frame=8, keyframe_thresh=NEVER_DROP).run()
    assert oracle.front_end.started
    assert oracle.state.frame_ids[0] == 0
    assert oracle.state.frame_ids[1] > 30
    assert oracle.kept_error() < 3e-4


def test_stamps_that_do_not_increase_do_no_harm():
    path = sideways_path(14, 2.8)
    stamps = [STEP_NS * (index // 2) for index in range(len(path))]
    oracle = Oracle(path, stamps_ns=stamps, patches_per_frame=8, keyframe_thresh=NEVER_DROP).run()
    assert bool(oracle.state.poses.isfinite().all())
    assert oracle.kept_error() < 1e-3


def test_the_first_two_frames_have_no_motion_to_go_on():
    oracle = Oracle(sideways_path(), patches_per_frame=8).run(2)
    assert torch.equal(oracle.state.poses[:2], lie.identity(2))


@pytest.mark.parametrize(("model", "moves"), [("DAMPED_LINEAR", True), ("NONE", False)])
def test_the_motion_model_can_be_turned_off(model, moves):
    oracle = Oracle(sideways_path(10, 2.0), patches_per_frame=8, motion_model=model).run()
    front_end, state = oracle.front_end, oracle.state
    predicted = front_end._predicted_pose(oracle.stamps_ns[-1] + STEP_NS)
    assert torch.equal(predicted, state.poses[state.num_frames - 1]) is not moves


@pytest.mark.parametrize(
    ("stamps", "steps"),
    [
        ((300, 200, 100), 1.0),
        ((350, 200, 100), 1.5),
        ((225, 200, 100), 0.25),
        ((10_000, 200, 100), 4.0),
        ((200, 200, 100), 1.0),
        ((300, 200, 200), 1.0),
        ((100, 200, 300), 1.0),
    ],
)
def test_motion_goes_on_for_as_long_as_the_next_frame_is_away_or_one_step_where_stamps_do_not_increase(stamps, steps):
    assert frontend.steps_ahead(*stamps) == steps


def test_new_depths_are_the_lower_median_of_the_last_three_frames(undropped):
    depths = undropped.state.inverse_depths[-3:].flatten().sort().values
    assert float(undropped.front_end._first_depths(None)) == float(depths[(len(depths) - 1) // 2])


def test_random_patches_stay_off_the_border():
    centres = random_centres(5000, (8, 12), torch.Generator().manual_seed(0))
    assert centres.min(dim=0).values.tolist() == [1, 1]
    assert centres.max(dim=0).values.tolist() == [10, 6]


def test_patches_of_strong_gradient_are_preferred():
    image = torch.zeros(3, 96, 128, dtype=torch.uint8)
    image[:, :, 64:] = torch.randint(0, 255, (3, 96, 64), generator=torch.Generator().manual_seed(1)).byte()
    centres = gradient_centres(image, 20, (24, 32), torch.Generator().manual_seed(2))
    assert len(centres) == 20
    assert (centres[:, 0] >= 15).all()
    assert centres[:, 0].max() <= 30


def test_intrinsics_are_kept_with_each_frame(undropped):
    count = undropped.state.num_frames
    assert torch.equal(undropped.state.intrinsics[:count], INTRINSICS.expand(count, 4))
