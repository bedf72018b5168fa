from dataclasses import replace

import numpy as np
import pytest
from made_local_maps import CONFIG, IDS, add_keyframe, make_map
from odometry_scenes import FOCAL_PX, make_camera, rays_of, sideways_pose

from visloc_ros.core.geometry import SE3
from visloc_ros.odometry.klt.adjustment import InlineAdjuster, apply_window, snapshot_for_lens, snapshot_window
from visloc_ros.odometry.klt.lens import bent
from visloc_ros.odometry.klt.tracking import Features, measure
from visloc_ros.tracking.pixels import pixels_of


def test_the_newest_keyframes_move_and_the_older_ones_are_anchors():
    local_map, _ = make_map()
    snapshot = snapshot_window(local_map, CONFIG)
    assert snapshot.keyframe_numbers.tolist() == [0, 1, 2, 3, 4, 5]
    assert snapshot.problem.is_fixed.tolist() == [True, True, False, False, False, False]


def test_a_young_map_is_held_by_its_first_keyframe():
    local_map, _ = make_map(num_keyframes=3)
    assert snapshot_window(local_map, CONFIG).problem.is_fixed.tolist() == [True, False, False]


@pytest.mark.parametrize("num_keyframes", [2, 4])
def test_a_young_map_keeps_its_scale_beside_a_wrong_expected_depth(num_keyframes):
    local_map, points = make_map(num_keyframes)
    local_map.landmarks.expected_distances[0] = 3.0 * np.linalg.norm(points[0])
    before = distance_between(*local_map.keyframes[:2])
    adjuster = InlineAdjuster()
    adjuster.submit(snapshot_window(local_map, CONFIG))
    apply_window(local_map, *adjuster.finished()[:2])
    assert distance_between(*local_map.keyframes[:2]) == pytest.approx(before, rel=1e-3)


def test_nothing_to_adjust_with_too_few_landmarks():
    local_map, _ = make_map()
    local_map.landmarks.keep(np.arange(100) < CONFIG.min_tracked - 1)
    assert snapshot_window(local_map, CONFIG) is None


def test_a_wrong_keyframe_is_put_right_and_the_correction_says_by_how_much():
    local_map, _ = make_map(wrong_from=5)
    wrong = local_map.last.camera_from_odom
    adjuster = InlineAdjuster()
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
    adjuster = InlineAdjuster()
    adjuster.submit(snapshot)
    apply_window(local_map, *adjuster.finished()[:2])
    assert later.camera_from_odom.is_close(sideways_pose(1.2), 2e-3, 0.05)
    row, known = local_map.landmarks.rows_of(np.array([500]))
    assert known.all()
    np.testing.assert_allclose(local_map.landmarks.points[row[0]], [0.0, 0.0, 5.0], atol=0.01)


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
    adjuster = InlineAdjuster()
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


def see_something_new(local_map, points, shift):
    """The last two keyframes see one point more, between which the camera has moved to the right by a shift."""
    before, now = local_map.keyframes[-2:]
    now.camera_from_odom = SE3(np.eye(3), [-shift, 0.0, 0.0]) @ before.camera_from_odom
    for keyframe in (before, now):
        rays = rays_of(keyframe.camera_from_odom, np.vstack([points, [[0.3, 0.2, 5.0]]]))
        keyframe.features = Features(np.append(IDS, 300), rays.astype(np.float32), rays, np.full(101, FOCAL_PX))


def test_with_little_parallax_a_landmark_is_made_where_the_others_are_and_is_expected_to_be_there():
    local_map, points = make_map()
    see_something_new(local_map, points, shift=0.0)
    assert local_map.triangulate_new(with_prior=True) == 1
    rows, _ = local_map.landmarks.rows_of(np.array([300]))
    depths = (local_map.last.camera_from_odom @ points)[:, 2]
    point = local_map.last.camera_from_odom @ local_map.landmarks.points[rows][0]
    assert point[2] == pytest.approx(np.median(depths), rel=0.04)
    assert local_map.landmarks.expected_distances[rows] == pytest.approx(np.linalg.norm(point), rel=0.04)
    assert np.isnan(local_map.landmarks.expected_distances).sum() == 100


def test_expected_distances_hold_in_the_window_while_their_keyframe_is_kept_and_follow_the_unit():
    local_map, points = make_map()
    see_something_new(local_map, points, shift=0.0)
    local_map.triangulate_new(with_prior=True)
    prior = snapshot_window(local_map, CONFIG).problem.depth_prior
    assert np.count_nonzero(prior.weights) == 1
    local_map.rescale(3.0, np.zeros(3))
    rescaled = snapshot_window(local_map, CONFIG).problem.depth_prior
    np.testing.assert_allclose(rescaled.distances.max(), 3.0 * prior.distances.max())
    for index in range(6, 30):
        add_keyframe(local_map, index, points)
    assert snapshot_window(local_map, CONFIG).problem.depth_prior is None


def test_keyframes_of_the_lens_before_say_nothing_of_where_landmarks_are():
    config = replace(CONFIG, max_keyframes=60)
    local_map, _ = make_map(30, config=config)
    assert snapshot_window(local_map, config).problem.point_prior is not None
    local_map.change_lens(np.zeros(2), first_number=26)
    assert snapshot_window(local_map, config).problem.point_prior is None


def distance_between(one, other):
    return np.linalg.norm(one.camera_from_odom.inverse.translation - other.camera_from_odom.inverse.translation)


@pytest.mark.parametrize("times", [1, 2])
def test_landmarks_seen_again_stay_where_keyframes_outside_the_window_saw_them(times):
    """The keyframes of the problem see them from one place: noise must not move them, along their rays or with it."""
    config = replace(CONFIG, max_keyframes=60)
    local_map, points = make_map(config=config)
    rng, is_far = np.random.default_rng(0), IDS >= 70
    for keyframe in local_map.keyframes:
        keyframe.features = keyframe.features[is_far | (IDS < 8)]
    for number in range(6, 40):
        is_back = number >= 40 - times
        place = 3 if is_back else number % 6
        keyframe = add_keyframe(local_map, place, points, wrong=number == 39)
        rays = rays_of(sideways_pose(0.2 * place), points) + rng.normal(0.0, 0.3 / FOCAL_PX, (100, 2))
        seen = is_far | (IDS < 8) if is_back else ~is_far
        keyframe.features = Features(IDS, keyframe.features.pixels, rays, keyframe.features.pixels_per_ray)[seen]
    snapshot = snapshot_window(local_map, config)
    assert len(snapshot.keyframe_numbers) < 30
    adjuster = InlineAdjuster()
    adjuster.submit(snapshot)
    apply_window(local_map, *adjuster.finished()[:2])
    np.testing.assert_allclose(local_map.landmarks.points[is_far], points[is_far], rtol=0.02, atol=0.02)
    assert local_map.last.camera_from_odom.is_close(sideways_pose(0.6), 5e-3, 0.1)
