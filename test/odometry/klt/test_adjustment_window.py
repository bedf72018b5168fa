import multiprocessing
import os
import time
from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import FOCAL_PX, make_camera, random_points, rays_of, sideways_pose

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.odometry.klt.adjustment import (
    BackgroundAdjuster,
    InlineAdjuster,
    apply_window,
    snapshot_for_lens,
    snapshot_window,
)
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.lens import bent
from visloc_ros.odometry.klt.local_map import LocalMap
from visloc_ros.odometry.klt.tracking import Features, measure
from visloc_ros.tracking.pixels import pixels_of

CONFIG = KltConfig(window_keyframes=4, max_keyframes=10)
IMAGE = np.zeros((480, 640), np.uint8)
IDS = np.arange(100, dtype=np.int64)


def add_keyframe(local_map, index, points, wrong=False):
    truth = sideways_pose(0.2 * index)
    rays = rays_of(truth, points)
    pixels = (rays * FOCAL_PX + [320.0, 240.0]).astype(np.float32)
    features = Features(IDS, pixels, rays, np.full(len(IDS), FOCAL_PX))
    pose = SE3(rotation_matrix([0.0, 0.004, 0.0]), np.array([0.02, -0.01, 0.01])) @ truth if wrong else truth
    return local_map.add_keyframe(index, pose, features, IMAGE, make_camera())


def make_map(num_keyframes=6, wrong_from=99):
    points = random_points(100)
    local_map = LocalMap(0, CONFIG)
    for index in range(num_keyframes):
        add_keyframe(local_map, index, points, wrong=index >= wrong_from)
    local_map.landmarks.add(IDS, points.copy(), 0)
    return local_map, points


def test_the_newest_keyframes_move_and_the_older_ones_are_anchors():
    local_map, _ = make_map()
    snapshot = snapshot_window(local_map, CONFIG)
    assert snapshot.keyframe_numbers.tolist() == [0, 1, 2, 3, 4, 5]
    assert snapshot.problem.is_fixed.tolist() == [True, True, False, False, False, False]


def test_a_young_map_is_held_by_its_first_keyframe():
    local_map, _ = make_map(num_keyframes=3)
    assert snapshot_window(local_map, CONFIG).problem.is_fixed.tolist() == [True, False, False]


def test_nothing_to_adjust_with_too_few_landmarks():
    local_map, _ = make_map()
    local_map.landmarks.keep(np.arange(100) < CONFIG.min_tracked - 1)
    assert snapshot_window(local_map, CONFIG) is None


def test_a_wrong_keyframe_is_put_right_and_the_correction_says_by_how_much():
    local_map, _ = make_map(wrong_from=5)
    wrong = local_map.last.camera_from_odom
    adjuster = InlineAdjuster(CONFIG)
    adjuster.submit(snapshot_window(local_map, CONFIG))
    new_from_old = apply_window(local_map, *adjuster.finished()[:2])
    assert local_map.last.camera_from_odom.is_close(sideways_pose(1.0), 1e-3, 0.02)
    assert (wrong @ new_from_old.inverse).is_close(local_map.last.camera_from_odom, 1e-9, 1e-6)
    assert adjuster.finished() is None


def test_what_came_after_the_snapshot_moves_along():
    local_map, points = make_map(wrong_from=5)
    snapshot = snapshot_window(local_map, CONFIG)
    drift = local_map.last.camera_from_odom.inverse @ sideways_pose(1.0)
    later = add_keyframe(local_map, 6, points)
    later.camera_from_odom = sideways_pose(1.2) @ drift.inverse
    local_map.landmarks.add(np.array([500]), (drift @ np.array([0.0, 0.0, 5.0]))[None], later.number)
    adjuster = InlineAdjuster(CONFIG)
    adjuster.submit(snapshot)
    apply_window(local_map, *adjuster.finished()[:2])
    assert later.camera_from_odom.is_close(sideways_pose(1.2), 2e-3, 0.05)
    row, known = local_map.landmarks.rows_of(np.array([500]))
    assert known.all()
    np.testing.assert_allclose(local_map.landmarks.points[row[0]], [0.0, 0.0, 5.0], atol=0.01)


def test_background_gives_what_inline_gives():
    local_map, _ = make_map(wrong_from=4)
    snapshot = snapshot_window(local_map, CONFIG)
    inline, background = InlineAdjuster(CONFIG), BackgroundAdjuster(CONFIG)
    inline.submit(snapshot)
    background.submit(snapshot)
    assert background.busy
    deadline = time.monotonic() + 60.0
    while (done := background.finished()) is None:
        assert time.monotonic() < deadline
    np.testing.assert_allclose(inline.finished()[1].points, done[1].points, atol=1e-9)
    assert not inline.busy
    assert not background.busy
    background.close()


def test_the_newest_snapshot_replaces_one_that_waits():
    local_map, _ = make_map(wrong_from=4)
    snapshots = [snapshot_window(local_map, CONFIG) for _ in range(3)]
    background = BackgroundAdjuster(CONFIG)
    for snapshot in snapshots:
        background.submit(snapshot)
    deadline, done = time.monotonic() + 60.0, []
    while background.busy:
        assert time.monotonic() < deadline
        finished = background.finished()
        done += [] if finished is None else [finished[0]]
    background.close()
    assert [snapshots.index(snapshot) for snapshot in done] == [0, 2]


@pytest.mark.parametrize(("in_spare_time", "policy"), [(True, os.SCHED_IDLE), (False, os.SCHED_OTHER)])
def test_adjusting_beside_the_frames_takes_spare_time_unless_there_is_none(in_spare_time, policy):
    background = BackgroundAdjuster(replace(CONFIG, adjust_in_spare_time=in_spare_time))
    (process,) = (child for child in multiprocessing.active_children() if child.name == "bundle-adjustment")
    assert os.sched_getscheduler(process.pid) == policy
    background.close()


def test_old_keyframes_make_room_and_unseen_landmarks_go():
    local_map, points = make_map(num_keyframes=2)
    local_map.landmarks.add(np.array([900]), np.zeros((1, 3)), 0)
    for index in range(2, 30):
        add_keyframe(local_map, index, points)
    assert [keyframe.number for keyframe in local_map.keyframes] == list(range(20, 30))
    assert len(local_map.landmarks) == 100


@pytest.mark.parametrize("distance", [5.0, 400.0])
def test_new_features_become_landmarks_near_or_far(distance):
    local_map, points = make_map()
    extra = np.vstack([points, [[0.3, 0.2, distance]]])
    for keyframe in local_map.keyframes[-2:]:
        rays = rays_of(keyframe.camera_from_odom, extra)
        ids = np.append(IDS, 300)
        keyframe.features = Features(ids, rays.astype(np.float32), rays, np.full(101, FOCAL_PX))
    assert local_map.triangulate_new() == 1
    rows, _ = local_map.landmarks.rows_of(np.array([300]))
    depth = (local_map.last.camera_from_odom @ local_map.landmarks.points[rows])[0, 2]
    assert depth == pytest.approx(5.0, abs=0.1) if distance == 5.0 else depth > 30.0


def test_a_wrong_observation_is_taken_out_of_its_keyframe():
    local_map, _ = make_map()
    bad = local_map.last.features
    bad.rays[10] += 0.05
    local_map.remove_outliers(local_map.keyframes, max_error_px=2.0)
    assert 10 not in local_map.last.features.ids
    assert len(local_map.last.features) == 99
    assert len(local_map.landmarks) == 100


def bend_what_is_seen(local_map, radial):
    """Let every keyframe's pixels be those of a lens with distortion, while its rays are of one without."""
    lens = bent(make_camera(), radial)
    for keyframe in local_map.keyframes:
        seen = keyframe.features
        pixels = pixels_of(lens, np.column_stack([seen.rays, np.ones(len(seen))]))
        keyframe.features = measure(keyframe.camera, seen.ids, pixels)


def test_a_nominal_lens_is_learnt_along_with_the_window():
    local_map, _ = make_map(num_keyframes=8)
    bend_what_is_seen(local_map, np.array([-0.08, 0.0]))
    adjuster = InlineAdjuster(CONFIG)
    adjuster.submit(snapshot_for_lens(local_map, np.zeros(2), 20, CONFIG))
    done = adjuster.finished()
    np.testing.assert_allclose(done.radial, [-0.08, 0.0], atol=0.01)
    assert np.median(np.linalg.norm(done.adjusted.residuals(), axis=1)) < 0.05
    assert len(done.adjusted.rotations) == 8


def test_a_calibrated_lens_is_not_doubted():
    local_map, _ = make_map()
    for keyframe in local_map.keyframes:
        keyframe.camera = bent(keyframe.camera, np.array([-0.2, 0.05]))
    assert snapshot_for_lens(local_map, np.zeros(2), 20, CONFIG) is None
