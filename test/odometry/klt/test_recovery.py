from types import SimpleNamespace

import numpy as np
import pytest
from odometry_scenes import TwoPlanes, make_camera

from visloc_ros.core.camera import HALF_PIXEL, rays
from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import MIN_CORRELATION, ImagePreparation, make_thumbnail, turn_between
from visloc_ros.odometry.klt.local_map import LocalMap
from visloc_ros.odometry.klt.location import estimate_pure_rotation
from visloc_ros.odometry.klt.parallax import ParallaxTable
from visloc_ros.odometry.klt.recovery import MIN_AGREEING, KeyframeSearch, describe, rotation_between
from visloc_ros.odometry.klt.tracking import Features, detect_corners, measure
from visloc_ros.tracking.pixels import homogeneous

CAMERA = make_camera(320, 240)
CONFIG = KltConfig().fitted_to(320, 240)


@pytest.fixture(scope="module")
def scene():
    return TwoPlanes(CAMERA)


def turned(yaw_deg, pitch_deg=0.0, metres=0.0):
    """``world_from_camera`` of a camera turned to the right and up and moved to the right."""
    return SE3(rotation_matrix(np.radians([pitch_deg, yaw_deg, 0.0])), np.array([metres, 0.0, 0.0]))


def view_of(scene, world_from_camera):
    return ImagePreparation(CONFIG).prepare(scene.frame(0, world_from_camera))


@pytest.mark.parametrize(("yaw_deg", "pitch_deg"), [(0.0, 0.0), (8.0, 0.0), (-16.0, 3.0), (4.0, -8.0)])
def test_thumbnails_give_a_turn(scene, yaw_deg, pitch_deg):
    first, second = (make_thumbnail(scene.frame(0, pose).image) for pose in (turned(0), turned(yaw_deg, pitch_deg)))
    seen, correlation = turn_between(first, second // 2, CAMERA)
    truth = turned(yaw_deg, pitch_deg).rotation.T
    assert rotation_angle_deg(seen, truth) < 1.5
    assert correlation > MIN_CORRELATION


def test_pictures_of_different_places_do_not_correlate(scene):
    other = TwoPlanes(CAMERA, seed=50)
    first, second = (make_thumbnail(place.frame(0, turned(0)).image) for place in (scene, other))
    assert turn_between(first, second, CAMERA)[1] < MIN_CORRELATION


@pytest.fixture
def local_map(scene):
    """One keyframe whose landmarks are the true points behind its corners."""
    view = view_of(scene, turned(0))
    pixels = detect_corners(view.grey, np.empty((0, 2), np.float32), CONFIG)
    features = measure(CAMERA, np.arange(len(pixels)), pixels)
    on_board = np.all(np.abs(features.rays * 2.0) < [0.875, 0.625], axis=1)
    result = LocalMap(0, CONFIG)
    result.add_keyframe(0, SE3.identity(), features, view.grey, CAMERA)
    depths = np.where(on_board, 2.0, 4.0)
    result.landmarks.add(features.ids, homogeneous(features.rays) * depths[:, None], 0)
    return result


@pytest.mark.parametrize("yaw_deg", [0.0, 14.0])
def test_a_view_is_found_by_a_keyframe_however_it_is_turned(scene, local_map, yaw_deg):
    truth = turned(yaw_deg, metres=0.1)
    found = KeyframeSearch(CONFIG).find(local_map, view_of(scene, truth))
    np.testing.assert_allclose(found.camera_from_odom.matrix, truth.inverse.matrix, atol=0.003)
    assert len(found.features) > 40


def test_a_view_of_another_place_is_not_found(local_map):
    other = TwoPlanes(CAMERA, seed=50)
    assert KeyframeSearch(CONFIG).find(local_map, view_of(other, turned(0))) is None


def seen_from(world_from_camera, points, ids=None):
    """Features at the exact places of points (N, 3)."""
    local = world_from_camera.inverse @ points
    pixels = CAMERA.img_from_cam(local) - HALF_PIXEL
    ids = np.arange(len(points)) if ids is None else ids
    exact = rays(CAMERA, pixels + HALF_PIXEL)
    return Features(ids, pixels.astype(np.float32), exact, np.full(len(ids), CAMERA.focal_length_x))


def test_parallax_comes_from_motion_and_not_from_turns():
    points = np.array([[0.0, 0.0, 2.0], [0.3, 0.1, 4.0]])
    table = ParallaxTable()
    for number, pose in enumerate((turned(0), turned(10), turned(10, metres=0.1), turned(0))):
        table.see(number, seen_from(pose, points), pose.inverse, np.arange(2))
    np.testing.assert_allclose(table.of(np.array([0, 1, 9])), [2.86, 1.43, 0.0], atol=0.1)


def test_a_turn_that_an_adjustment_corrects_is_no_parallax():
    points = np.array([[0.0, 0.0, 2.0], [0.3, 0.1, 4.0]])
    table = ParallaxTable()
    table.see(0, seen_from(turned(10), points), turned(11).inverse, np.arange(2))
    table.turn(0, turned(10).inverse)
    table.see(1, seen_from(turned(12), points), turned(12).inverse, np.arange(2))
    np.testing.assert_allclose(table.of(np.arange(2)), 0.0, atol=0.01)


def test_parallax_of_landmarks_out_of_view_is_kept_and_of_lost_features_forgotten():
    points = np.array([[0.0, 0.0, 2.0], [0.3, 0.1, 2.0]])
    table = ParallaxTable()
    for number, pose in enumerate((turned(0), turned(0, metres=0.1))):
        table.see(number, seen_from(pose, points), pose.inverse, np.empty(0, dtype=np.int64))
    table.see(2, seen_from(turned(0), points[:1], ids=np.array([5])), SE3.identity(), np.array([1]))
    angles = table.of(np.array([0, 1, 5]))
    assert (angles > 1.0).tolist() == [False, True, False]


def test_a_turn_on_the_spot_is_distinguished_from_a_motion():
    points = np.random.default_rng(0).uniform([-1, -1, 1], [1, 1, 3], (60, 3))
    now = turned(3, metres=0.2)
    keyframe = SimpleNamespace(features=seen_from(now, points), camera_from_odom=now.inverse)
    pose = estimate_pure_rotation([keyframe], seen_from(turned(9, metres=0.2), points), now.inverse, CONFIG)
    assert pose.is_close(turned(9, metres=0.2).inverse, 1e-6)
    assert estimate_pure_rotation([keyframe], seen_from(turned(9, metres=0.3), points), now.inverse, CONFIG) is None


def test_a_motion_that_the_last_keyframe_has_not_noticed_shows_against_an_earlier_one():
    points = np.random.default_rng(0).uniform([-1, -1, 1], [1, 1, 3], (60, 3))
    poses = [turned(3 * index, metres=0.01 * index) for index in range(5)]
    keyframes = [SimpleNamespace(features=seen_from(pose, points), camera_from_odom=pose.inverse) for pose in poses]
    features = seen_from(poses[-1], points)
    last = poses[-1].inverse
    assert estimate_pure_rotation(keyframes[-2:], features, last, CONFIG) is not None
    assert estimate_pure_rotation(keyframes, features, last, CONFIG) is None
    few = features[np.arange(len(features)) < 2 * CONFIG.min_tracked - 1]  # too few to judge an earlier keyframe by
    assert estimate_pure_rotation(keyframes, few, last, CONFIG) is not None


@pytest.mark.parametrize("roll_deg", [40.0, -110.0, 180.0])
def test_corners_give_a_turn_about_the_optical_axis(scene, roll_deg):
    rolled = SE3(rotation_matrix([0.0, 0.0, np.radians(roll_deg)]) @ turned(5.0).rotation, np.zeros(3))
    first, second = (describe(scene.frame(0, pose).grey, CAMERA) for pose in (turned(0.0), rolled))
    rotation, number = rotation_between(first, second)
    assert rotation_angle_deg(rotation, rolled.rotation.T) < 0.5
    assert number > 3 * MIN_AGREEING


def test_corners_of_another_place_or_of_none_agree_on_no_turn(scene):
    here, other = (describe(place.frame(0, turned(0)).grey, CAMERA) for place in (scene, TwoPlanes(CAMERA, seed=50)))
    nothing = describe(np.full((240, 320), 128, np.uint8), CAMERA)
    assert rotation_between(here, other)[1] < MIN_AGREEING
    assert rotation_between(here, nothing)[1] == 0


def test_a_view_that_is_rolled_is_found_by_its_corners(scene, local_map):
    truth = SE3(rotation_matrix([0.0, 0.0, np.radians(75.0)]), np.array([0.1, 0.0, 0.0]))
    found = KeyframeSearch(CONFIG).find(local_map, view_of(scene, truth))
    np.testing.assert_allclose(found.camera_from_odom.matrix, truth.inverse.matrix, atol=0.003)
