"""A measured loop bends the frames of a state: poses, depths and what hangs on dropped frames; chains that close."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from dpvo_oracle import CPU, INTRINSICS, MAP_SIZE, ate, to_row
from scipy.spatial.transform import Rotation

from visloc_dpvo import DpvoConfig, lie, projection
from visloc_dpvo.loop_correction import (
    apply_correction,
    chain_edges,
    close_loop,
    optimise,
)
from visloc_dpvo.places import Hit
from visloc_dpvo.rings import FrameFeatures
from visloc_dpvo.state import DpvoState, to_se3
from visloc_ros.core.geometry import SE3, Sim3, rotation_matrix, umeyama
from visloc_ros.core.similarities import Similarities
from visloc_ros.core.similarity_graph import SimilarityEdges

FRAMES, PATCHES, STAY = 60, 4, 6
LOOP = Hit(query=FRAMES - STAY - 1, place=2)
CONFIG = DpvoConfig(preset="cpu", patches_per_frame=PATCHES, buffer_size=64)


def circle():
    """World_from_camera once round a circle of radius 5, looking ahead; the last ``STAY`` frames begin a second one."""
    angles = 2.0 * np.pi * np.arange(FRAMES) / (FRAMES - STAY)
    centres = 5.0 * np.column_stack((np.cos(angles), np.zeros(FRAMES), np.sin(angles)))
    return [SE3(rotation_matrix([0.0, -angle, 0.0]), centre) for angle, centre in zip(angles, centres, strict=True)]


def units():
    """Length of the unit that odometry had at each frame, drifting until the loop."""
    return np.exp(np.minimum(np.arange(FRAMES), LOOP.query) * 0.006)


def drifted_state(truth):
    """A state of these frames, each step and depth in its own unit; every third input was dropped before."""
    state = DpvoState(CONFIG, MAP_SIZE, CPU)
    cells = torch.zeros(1, 1, 1).expand(128, *MAP_SIZE)
    features = FrameFeatures(cells, torch.zeros(PATCHES, 128, 3, 3), torch.zeros(PATCHES, 384))
    patches = torch.ones(PATCHES, 3, 3, 3)
    for frame, unit in enumerate(units()):
        state.timeline.append(frame)
        if frame:
            step = truth[frame].inverse @ truth[frame - 1]
            step = SE3(step.rotation, step.translation * unit)
            state.poses[frame] = lie.compose(to_row(step).float(), state.poses[frame - 1])
        patches[:, 2] = 0.5 / float(unit)
        state.put(frame, INTRINSICS, patches, features)
        state.accept()
    return state


@pytest.fixture
def truth():
    return circle()


@pytest.fixture
def state(truth):
    return drifted_state(truth)


def measured_loop(truth, loop=LOOP):
    """What 3D points say about a loop: place_from_query, each camera in its own unit."""
    query_unit, place_unit = units()[list(loop)]
    relative = truth[loop.place].inverse @ truth[loop.query]
    return Sim3(place_unit / query_unit, relative.rotation, place_unit * relative.translation)


def correction(state, truth, frames=LOOP.query + 2, earlier=()):
    poses = state.poses[:frames].numpy().copy()
    return close_loop(state.num_forgotten, poses, LOOP, measured_loop(truth), earlier)


def centres(state):
    return lie.inverse(state.poses[: state.num_frames])[:, :3].double().numpy()


def test_closing_the_loop_takes_the_drift_out(state, truth):
    before = ate(truth, centres(state))
    assert apply_correction(state, correction(state, truth))
    assert before > 0.4
    assert ate(truth, centres(state)) < 0.1 * before


def test_depths_follow_the_scale(state, truth):
    apply_correction(state, correction(state, truth))
    depths = 1.0 / state.inverse_depths[:, 0, 0, 0].numpy()
    np.testing.assert_allclose(depths / depths[0], 1.0, rtol=0.02)
    assert float(state.inverse_depths.mean()) == pytest.approx(1.0, rel=1e-5)


def test_points_on_the_way_are_seen_where_they_were_seen_before(state, truth):
    """Between neighbours the correction is a similarity, which no image shows."""
    kk = torch.arange(0, (FRAMES - 1) * PATCHES)
    ii = kk // PATCHES
    arguments = state.intrinsics, ii, ii + 1, kk
    before = projection.reproject(state.poses, state.flat_patches, *arguments)
    apply_correction(state, correction(state, truth))
    after = projection.reproject(state.poses, state.flat_patches, *arguments)
    assert float((after - before).abs().median()) < 0.05


def test_recent_frames_keep_their_poses_as_they_are_given_out(state, truth):
    before = state.odom_from_camera(state.poses[:FRAMES])
    apply_correction(state, correction(state, truth))
    after = state.odom_from_camera(state.poses[:FRAMES])
    assert all(a.is_close(b, 1e-4, 1e-2) for a, b in zip(before[-STAY:], after[-STAY:], strict=True))
    assert not after[LOOP.place].is_close(before[LOOP.place], 0.3, 1.0)


def test_dropped_frames_move_with_the_frame_they_hang_on(truth):
    state = drifted_state(truth)
    dropped = 20
    state.drop_frame(dropped)
    loop = Hit(LOOP.query - 1, LOOP.place)
    poses = state.poses[: loop.query + 2].numpy().copy()
    unit = units()[dropped - 1] / units()[LOOP.query]
    assert apply_correction(state, close_loop(0, poses, loop, measured_loop(truth)))
    trajectory = state.trajectory()
    track = trajectory.poses
    step = np.linalg.norm(track[dropped].translation - track[dropped - 1].translation)
    true_step = np.linalg.norm(truth[dropped].translation - truth[dropped - 1].translation) * units()[LOOP.query]
    assert trajectory.stamps_ns.tolist() == list(range(FRAMES))
    assert unit < 0.85
    assert step == pytest.approx(true_step, rel=0.02)
    assert ate(truth, np.array([pose.translation for pose in track])) < 0.05


def test_an_earlier_loop_is_held(state, truth):
    apply_correction(state, correction(state, truth))
    rows, poses = state.poses[:FRAMES].numpy().copy(), to_se3(state.poses[:FRAMES])
    loop = Hit(30, 20)
    bent = Sim3(1.2, rotation_matrix([0.0, 0.1, 0.0]), np.zeros(3)) @ Sim3.from_se3(poses[20] @ poses[30].inverse)
    place_from_query = poses[LOOP.place] @ poses[LOOP.query].inverse

    def change(world_from_place, world_from_query):
        now = world_from_place.inverse @ world_from_query
        return np.linalg.norm(now.translation - place_from_query.translation)

    free = close_loop(0, rows, loop, bent).world_from_camera
    held = close_loop(0, rows, loop, bent, (LOOP,)).world_from_camera
    assert (len(free), len(held)) == (loop.query + 1, LOOP.query + 1)
    free_change = change(free.member(LOOP.place), Sim3.from_se3(poses[LOOP.query].inverse))
    assert change(held.member(LOOP.place), held.member(LOOP.query)) < 0.5 * free_change


def test_a_correction_of_poses_that_have_changed_since_is_refused(state, truth):
    late = correction(state, truth)
    state.poses[10, 0] += 1e-3
    before = state.poses.clone()
    assert not apply_correction(state, late)
    assert torch.equal(state.poses, before)


def test_new_frames_after_the_snapshot_do_not_matter(state, truth):
    found = correction(state, truth)
    state.poses[FRAMES - 1, 0] += 0.1
    assert apply_correction(state, found)


def test_frames_forgotten_meanwhile_stay_where_they_were(state, truth):
    found = correction(state, truth)
    before = state.trajectory().poses
    state.forget_oldest(10)
    assert apply_correction(state, found)
    after = state.trajectory().poses
    assert all(a.is_close(b, 1e-4, 1e-2) for a, b in zip(before[:10], after[:10], strict=True))
    assert ate(truth[10:], centres(state)) < 0.05
    state.forget_oldest(state.num_frames - 2)
    assert not apply_correction(state, found)


SIDE = 20


def square_loop():
    """Camera_from_world of a walk along a square of 10 x 10 units that looks ahead and ends where it began."""
    corners = np.array([[0, 0, 0], [10, 0, 0], [10, 0, 10], [0, 0, 10], [0, 0, 0]], dtype=np.float64)
    steps = np.linspace(0.0, 1.0, SIDE, endpoint=False)
    centres = np.concatenate([a + np.outer(steps, b - a) for a, b in pairwise(corners)])
    turns = Rotation.from_euler("y", np.repeat([0.0, 90.0, 180.0, 270.0], SIDE)[:, None], degrees=True).as_matrix()
    centres, turns = np.vstack((centres, corners[-1:])), np.concatenate((turns, turns[:1]))
    return Similarities.from_poses(turns, centres).inverse


def drifted(truth, units):
    """The same walk as odometry sees it whose unit of length shrinks: lengths at camera f grow by ``units[f]``."""
    poses = [SE3(truth.rotations[0], truth.translations[0])]
    for f in range(1, len(truth)):
        step = truth.member(f) @ truth.member(f - 1).inverse
        poses.append(SE3(step.rotation, units[f] * step.translation) @ poses[-1])
    return Similarities.stack(*poses)


def loop_edge(truth, query, place, units):
    """What Umeyama measures: place_from_query, each camera's points in its own unit."""
    relative = truth.member(place) @ truth.member(query).inverse
    in_units = Sim3(units[place], np.eye(3), np.zeros(3)) @ relative @ Sim3(1 / units[query], np.eye(3), np.zeros(3))
    return SimilarityEdges(np.array([query]), np.array([place]), Similarities.stack(in_units))


def error(truth, cameras):
    target, source = truth.inverse.translations, cameras.inverse.translations
    moved = umeyama(target, source) @ source
    return float(np.sqrt(np.square(moved - target).sum(axis=1).mean()))


@pytest.fixture
def drifting_square():
    """A square loop, the units in which it drifts, its drifted start, and edges that close it."""
    truth = square_loop()
    units = np.exp(np.linspace(0.0, 0.4, len(truth)))
    start = drifted(truth, units)
    return (
        truth,
        units,
        start,
        SimilarityEdges.concatenate(chain_edges(start), loop_edge(truth, len(truth) - 1, 0, units)),
    )


def test_a_square_loop_with_known_scale_drift_is_recovered(drifting_square):
    truth, units, start, edges = drifting_square
    result = optimise(start, edges, fixed=0)
    assert error(truth, start) > 0.5
    assert error(truth, result.cameras) < 0.02
    np.testing.assert_allclose(result.cameras.scales, units, rtol=0.01)
    assert result.mean_squares[-1] < 1e-5 < result.mean_squares[0]
    assert len(result.mean_squares) <= 10


def test_the_fixed_camera_holds_place_and_scale(drifting_square):
    truth, units, start, edges = drifting_square
    last = len(truth) - 1
    cameras = optimise(start, edges, fixed=last).cameras
    np.testing.assert_array_equal(cameras.translations[last], start.translations[last])
    assert cameras.scales[last] == 1.0
    np.testing.assert_allclose(cameras.scales[0], 1.0 / units[last], rtol=0.01)


def test_turns_are_corrected_too():
    truth = square_loop()
    yaw = Rotation.from_euler("y", 0.5, degrees=True).as_matrix()
    poses = [SE3(truth.rotations[0], truth.translations[0])]
    for f in range(1, len(truth)):
        step = truth.member(f) @ truth.member(f - 1).inverse
        poses.append(SE3(yaw @ step.rotation, yaw @ step.translation) @ poses[-1])
    start = Similarities.stack(*poses)
    edges = SimilarityEdges.concatenate(chain_edges(start), loop_edge(truth, len(truth) - 1, 0, np.ones(len(truth))))
    result = optimise(start, edges, fixed=0)
    assert error(truth, start) > 1.0
    assert error(truth, result.cameras) < 0.15


def test_contradictions_are_shared_out_as_least_squares_ask():
    """No small move of a camera lowers the sum of squares, however large the residuals that remain."""
    truth = square_loop().take(np.array([0, 10, 30]))
    a, b = np.array([0, 1, 2]), np.array([1, 2, 0])
    bend = Similarities.exp([[0.3, -0.2, 0.4, 0.5, 0.8, -0.3, 0.4]] * 3)
    edges = SimilarityEdges(a, b, bend @ SimilarityEdges.between(truth, a, b).b_from_a)
    cameras = optimise(truth, edges, fixed=0).cameras
    step = 1e-5

    def sum_of_squares(moves):
        return np.square(edges.residuals(Similarities.exp(moves) @ cameras)).sum()

    def slope(camera, axis):
        moves = np.zeros((3, 7))
        moves[camera, axis] = step
        return (sum_of_squares(moves) - sum_of_squares(-moves)) / (2.0 * step)

    assert sum_of_squares(np.zeros((3, 7))) > 0.5
    assert max(abs(slope(camera, axis)) for camera in (1, 2) for axis in range(7)) < 1e-3


def test_a_chain_without_contradiction_stays():
    cameras = square_loop()
    result = optimise(cameras, chain_edges(cameras), fixed=3)
    np.testing.assert_allclose(result.cameras.translations, cameras.translations, atol=1e-9)
    np.testing.assert_allclose(result.cameras.scales, 1.0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_the_start_does_not_matter_near_the_solution(seed):
    truth = square_loop()
    edges = SimilarityEdges.concatenate(chain_edges(truth), loop_edge(truth, len(truth) - 1, 0, np.ones(len(truth))))
    noise = 0.05 * np.random.default_rng(seed).normal(size=(len(truth), 7))
    noise[0] = 0.0
    result = optimise(Similarities.exp(noise) @ truth, edges, fixed=0)
    np.testing.assert_allclose(result.cameras.translations, truth.translations, atol=0.02)
    assert result.mean_squares[-1] < 1e-6
