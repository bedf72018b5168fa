import numpy as np
import pytest
import torch

from visloc_dpvo import DpvoConfig, lie
from visloc_dpvo.edges import Edges
from visloc_dpvo.rings import FeatureRings, FrameFeatures
from visloc_dpvo.state import DpvoState, Timeline

CPU = torch.device("cpu")
M = 3


def features(value):
    return FrameFeatures(
        torch.full((128, 8, 12), float(value)), torch.full((M, 128, 3, 3), float(value)), torch.full((M, 384), value)
    )


def pose(x, turn=0.0):
    return lie.exp(torch.tensor([x, 0.1 * x, 0.0, 0.0, turn, 0.0]))


def make_state(frames, **options):
    """Frames whose number is everywhere: inputs 2 f, features f, intrinsics f, translation along f."""
    state = DpvoState(DpvoConfig(preset="cpu", patches_per_frame=M, **options), (8, 12), CPU)
    for frame in range(frames):
        state.timeline.append(20 * frame)
        state.timeline.append(20 * frame + 10)
        patches = torch.full((M, 3, 3, 3), 1.0 + frame)
        state.poses[frame] = pose(float(frame), 0.05 * frame)
        state.put(2 * frame, torch.full((4,), float(frame)), patches, features(frame))
        state.accept()
    return state


def numbers_in_rings(state):
    frames = torch.arange(max(state.num_frames - state.features.map_frames, 0), state.num_frames)
    maps = state.features.fmap0[state.features.frame_rows(frames)][:, 0, 0, 0]
    patches = state.features.flat_gmap[state.features.patch_rows(frames * M + 1)][:, 0, 0, 0]
    assert torch.equal(maps, patches)
    return maps.tolist()


def assert_same_poses(state, before, translation=1e-5):
    """The whole track is where it was."""
    for one, other in zip(before, state.trajectory().poses, strict=True):
        assert one.is_close(other, translation, 1e-3)


def test_dropping_a_frame_moves_everything_up():
    state = make_state(6)
    state.add_edges(state.patches_of(0, 6), torch.arange(6).repeat_interleave(M).flip(0))
    state.drop_frame(3)
    assert state.num_frames == 5
    assert state.frame_ids == [0, 2, 4, 8, 10]
    assert state.intrinsics[:5, 0].tolist() == [0, 1, 2, 4, 5]
    assert state.patches[:5, 0, 0, 0, 0].tolist() == [1, 2, 3, 5, 6]
    assert numbers_in_rings(state) == [0, 1, 2, 4, 5]


def test_edges_of_a_dropped_frame_go_and_the_others_are_renumbered():
    kk = torch.tensor([0, 4, 7, 10, 13])
    jj = torch.tensor([3, 2, 4, 0, 1])
    edges = Edges.new(kk // M, jj, kk).without_frame(2, M)
    assert edges.kk.tolist() == [0, 7, 10]
    assert edges.ii.tolist() == [0, 2, 3]
    assert edges.jj.tolist() == [2, 0, 1]


def test_edges_without_the_oldest_frames():
    kk = torch.tensor([0, 4, 7, 10])
    edges = Edges.new(kk // M, torch.tensor([3, 3, 1, 0]), kk).without_oldest(1, M)
    assert (edges.kk.tolist(), edges.ii.tolist(), edges.jj.tolist()) == ([1, 4], [0, 1], [2, 0])


def test_what_an_update_said_stays_with_its_edge():
    kk = torch.arange(9)
    edges = Edges.new(kk // M, torch.tensor([0, 1, 2] * 3), kk)
    target = torch.arange(18.0).view(9, 2)
    edges = edges.updated(torch.ones(9, 384), target, target + 1)
    assert torch.equal(edges[edges.ii == 1].target, target[3:6])
    assert torch.equal(edges.without_frame(0, M).weight, target[[4, 5, 7, 8]] + 1)
    assert edges.without_state().net.shape == (9, 0)


def test_dropped_inputs_keep_their_place():
    state = make_state(6)
    before = state.timeline.poses(state.frame_id_rows, state.poses)
    for frame in (3, 3, 2):  # the second one hangs the first one's inputs on yet another frame
        state.drop_frame(frame)
    after = state.timeline.poses(state.frame_id_rows, state.poses)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


def test_dropped_inputs_move_with_the_frame_they_hang_on():
    state = make_state(6)
    state.drop_frame(3)
    state.poses[2] = lie.compose(state.poses[2], pose(1.0))
    moved = state.timeline.poses(state.frame_id_rows, state.poses)
    relative = lie.compose(moved[6], lie.inverse(moved[4]))
    expected = lie.compose(pose(3.0, 0.15), lie.inverse(pose(2.0, 0.1)))
    torch.testing.assert_close(relative, expected, atol=1e-5, rtol=0)


def test_thousands_of_inputs_on_one_frame():
    timeline = Timeline(CPU)
    for stamp in range(3000):
        timeline.append(stamp)
    timeline.tie(10, 3000, pose(1.0))
    poses = timeline.poses(torch.tensor([0]), lie.identity(1))
    torch.testing.assert_close(poses[[9, 10, 2999]], torch.stack((lie.identity(), pose(1.0), pose(1.0))))


def test_retired_edges_are_archived_only_where_a_global_adjustment_needs_them():
    for loop_closure in (False, True):
        state = make_state(4, loop_closure=loop_closure)
        state.add_edges(state.patches_of(0, 4), torch.full((4 * M,), 3))
        state.retire(state.edges.ii < 2)
        assert len(state.edges) == 2 * M
        assert (len(state.archived) if loop_closure else state.archived) == (2 * M if loop_closure else None)


def test_only_loop_closing_keeps_patches_longer_than_maps():
    assert make_state(1).features.patch_frames == make_state(1).features.map_frames == 18
    assert make_state(1, loop_closure=True, max_edge_age=200).features.patch_frames == 200


def test_rings_keep_the_newest_frames_over_many_laps():
    state = make_state(50)
    assert numbers_in_rings(state) == list(range(50 - 18, 50))


def test_the_coarse_map_averages_sixteen_cells():
    rings = FeatureRings(2, 2, M, (8, 12), CPU, torch.float32)
    fmap = torch.arange(96.0).view(1, 8, 12).expand(128, 8, 12)
    rings.store(0, FrameFeatures(fmap, torch.zeros(M, 128, 3, 3), torch.zeros(M, 384)))
    assert rings.pyramid[1].shape == (2, 128, 2, 3)
    assert float(rings.pyramid[1][0, 5, 1, 2]) == float(fmap[0, 4:, 8:].mean())


def test_forgetting_keeps_what_is_newer_and_the_whole_track():
    state = make_state(40, loop_closure=True)
    state.add_edges(torch.tensor([10 * M, 25 * M + 1]), torch.tensor([26, 27]))
    before = state.trajectory().poses
    state.forget_oldest(20)
    assert (state.num_frames, state.num_forgotten) == (20, 20)
    assert state.frame_ids[0] == 40
    assert state.intrinsics[:20, 0].tolist() == list(range(20, 40))
    assert (state.edges.kk.tolist(), state.edges.jj.tolist()) == ([5 * M + 1], [7])
    assert numbers_in_rings(state) == list(range(22, 40))
    assert state.trajectory().stamps_ns.tolist() == list(range(0, 800, 10))
    assert_same_poses(state, before)


def test_forgetting_twice_keeps_the_track_in_order():
    state = make_state(30)
    before = state.trajectory().poses
    state.forget_oldest(10)
    state.forget_oldest(10)
    assert state.trajectory().stamps_ns.tolist() == list(range(0, 600, 10))
    assert_same_poses(state, before)


@pytest.mark.parametrize("origin", [0, 3])
def test_moving_the_world_does_not_move_the_poses_given_out(origin):
    state = make_state(6)
    state.drop_frame(2)
    before = state.trajectory().poses
    depths = state.inverse_depths.clone()
    state.move_world(1.7, origin)
    torch.testing.assert_close(state.poses[origin], lie.identity())
    torch.testing.assert_close(state.inverse_depths * 1.7, depths)
    assert_same_poses(state, before)
    assert state.odom_from_world.scale == pytest.approx(1 / 1.7)


def test_moving_the_world_after_forgetting_leaves_the_old_track_alone():
    state = make_state(20)
    before = state.trajectory().poses
    state.forget_oldest(8)
    state.move_world(0.4)
    assert_same_poses(state, before, translation=1e-4)


def test_rescaling_moves_depths_and_what_hangs_on_a_frame():
    state = make_state(4)
    state.drop_frame(2)
    before = state.timeline.poses(state.frame_id_rows, state.poses)
    state.rescale(torch.tensor([1.0, 2.0, 1.0]))
    after = state.timeline.poses(state.frame_id_rows, state.poses)
    kept = lie.inverse(state.poses[1])
    shift = lie.compose(before[4], kept)[:3]
    torch.testing.assert_close(lie.compose(after[4], kept)[:3], 2.0 * shift)
    torch.testing.assert_close(after[[0, 2, 6]], before[[0, 2, 6]])
    assert state.inverse_depths[:, 0, 0, 0].tolist() == [1.0, 1.0, 4.0]


def test_poses_given_out_are_those_of_the_camera():
    state = make_state(3)
    (found,) = state.odom_from_camera(state.poses[2:3])
    centre = lie.inverse(state.poses[2])[:3]
    np.testing.assert_allclose(found.translation, centre, atol=1e-6)


def test_units_are_those_of_the_poses_given_out():
    """A frame's scale in odometry changes by rescaling alone: a moved world leaves what is given out as it is."""
    state = make_state(4)
    assert state.units[:4].tolist() == [0.0, 0.0, 0.0, 0.0]  # nothing was given out
    state.units[:4] = 1.0
    state.move_world(2.0)
    state.rescale(torch.tensor([3.0, 1.0, 1.0, 1.0]))
    assert state.units[:4].tolist() == [6.0, 2.0, 2.0, 2.0]
    (newest,) = state.odom_from_camera(state.poses[3:4])
    assert state.give_out_newest().is_close(newest)
    assert state.units[3] == pytest.approx(1.0 / state.odom_from_world.scale)


def test_units_stay_with_their_frames():
    state = make_state(6)
    state.units[:6] = torch.arange(1.0, 7.0)
    state.drop_frame(2)
    assert state.units[:5].tolist() == [1.0, 2.0, 4.0, 5.0, 6.0]
    state.forget_oldest(2)
    assert state.units[:3].tolist() == [4.0, 5.0, 6.0]
    state.timeline.append(1000)
    state.put(12, torch.zeros(4), torch.ones(M, 3, 3, 3), features(0))
    assert state.units[3] == 0.0
