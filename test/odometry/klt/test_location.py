"""Where a view is, from landmarks whose depths are known and others whose depths are not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from made_local_maps import CONFIG, IDS, IMAGE
from odometry_scenes import FOCAL_PX, make_camera, random_points, rays_of, sideways_pose

from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.odometry.klt.local_map import LocalMap
from visloc_ros.odometry.klt.location import ViewLocator
from visloc_ros.odometry.klt.motion import MotionModel
from visloc_ros.odometry.klt.parallax import ParallaxTable
from visloc_ros.odometry.klt.tracking import Features
from visloc_ros.odometry.klt.triangulation import ViewRays, triangulate

NUM_KNOWN, FIRST_M, NOW_M, NOISE_PX = 30, 0.5, 0.56, 0.35


def seen_from(x_m, ids, points):
    rays = rays_of(sideways_pose(x_m), points)
    pixels = (rays * FOCAL_PX + [320.0, 240.0]).astype(np.float32)
    return Features(ids, pixels, rays, np.full(len(ids), FOCAL_PX))


def located_position(wrong_by, born):
    """Where a camera is found at ``NOW_M`` that sees landmarks of before the turn, and more with depths so wrong."""
    points = random_points(len(IDS))
    known, new = IDS[:NUM_KNOWN], IDS[NUM_KNOWN:]
    local_map, parallax = LocalMap(0, CONFIG), ParallaxTable()
    for number, (x_m, ids) in enumerate(((0.0, known), (FIRST_M, IDS))):
        features = seen_from(x_m, ids, points[ids])
        local_map.add_keyframe(round(1e9 * x_m), sideways_pose(x_m), features, IMAGE, make_camera())
        parallax.see(number, features, sideways_pose(x_m), IDS)
    centre = sideways_pose(FIRST_M).inverse.translation
    local_map.landmarks.add(known, points[:NUM_KNOWN], 0)
    local_map.landmarks.add(new, centre + wrong_by * (points[NUM_KNOWN:] - centre), born)
    motion = MotionModel(round(1e9 * FIRST_M), sideways_pose(FIRST_M))
    locator = ViewLocator(local_map, motion, parallax, CONFIG)
    view = SimpleNamespace(camera=make_camera(), stamp_ns=round(1e9 * NOW_M))
    features = seen_from(NOW_M, IDS, points)
    located = locator.locate(view, IDS, features.pixels, sideways_pose(FIRST_M), 5.0)
    return located.camera_from_odom.inverse.translation[0] / sideways_pose(NOW_M).inverse.translation[0]


def test_depths_without_parallax_do_not_decide_how_far_the_camera_has_moved():
    taken_for_known = located_position(wrong_by=1.25, born=0) - 1.0  # as those that a segment begins with are
    assert taken_for_known > 0.05 * (NOW_M - FIRST_M) / NOW_M
    assert abs(located_position(wrong_by=1.25, born=1) - 1.0) < 0.3 * taken_for_known


def test_exact_landmarks_give_the_exact_pose_however_little_parallax_they_have():
    assert located_position(wrong_by=1.0, born=1) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_of_two_groups_of_landmarks_that_contradict_each_other_the_larger_one_decides(seed):
    """Nearly half of the landmarks have turned by two degrees: between both groups is a pose that fits neither."""
    rng, ids = np.random.default_rng(seed), IDS[:60]
    points = random_points(100)
    points = points[np.argsort(points[:, 0] / points[:, 2])][:60]  # on one side: turn and motion look alike
    local_map, parallax = LocalMap(0, CONFIG), ParallaxTable()
    for number, x_m in enumerate((0.0, FIRST_M)):
        features = seen_from(x_m, ids, points)
        local_map.add_keyframe(round(1e9 * x_m), sideways_pose(x_m), features, IMAGE, make_camera())
        parallax.see(number, features, sideways_pose(x_m), ids)
    centre = sideways_pose(FIRST_M).inverse.translation
    turned = centre + (points - centre) @ rotation_matrix([0.0, np.radians(2.0), 0.0]).T
    is_turned = np.isin(ids, rng.permutation(ids)[:27])
    local_map.landmarks.add(ids, np.where(is_turned[:, None], turned, points), 0)
    locator = ViewLocator(local_map, MotionModel(round(1e9 * FIRST_M), sideways_pose(FIRST_M)), parallax, CONFIG)
    view = SimpleNamespace(camera=make_camera(), stamp_ns=round(1e9 * NOW_M))
    start = SE3(rotation_matrix([0.0, np.radians(-3.0), 0.0]), np.zeros(3)) @ sideways_pose(FIRST_M)
    pixels = seen_from(NOW_M, ids, points).pixels + rng.normal(0.0, 0.2, (60, 2)).astype(np.float32)
    located = locator.locate(view, ids, pixels, start, 5.0)
    assert located.camera_from_odom.is_close(sideways_pose(NOW_M), 0.02, 0.2)
    assert set(located.features.ids) >= set(ids[~is_turned])


def rotation_error_deg(seed, num=56, baseline_m=0.1):
    """Error of a view half a metre and 8 degrees on from two views that have triangulated landmarks on a wall."""
    rng, ids = np.random.default_rng(seed), IDS[:num]
    points = np.c_[rng.uniform([-0.15, -1.35], [1.2, 1.2], (num, 2)), np.full(num, 3.0)]
    local_map, parallax, views = LocalMap(0, CONFIG), ParallaxTable(), []
    for number, x_m in enumerate((0.0, baseline_m)):
        features = seen_from(x_m, ids, points)
        features = replace(features, rays=features.rays + rng.normal(0.0, NOISE_PX / FOCAL_PX, (num, 2)))
        local_map.add_keyframe(round(1e9 * x_m), sideways_pose(x_m), features, IMAGE, make_camera())
        parallax.see(number, features, sideways_pose(x_m), ids)
        rotations = np.broadcast_to(sideways_pose(x_m).rotation, (num, 3, 3))
        translations = np.broadcast_to(sideways_pose(x_m).translation, (num, 3))
        views.append(ViewRays(rotations, translations, features.rays, features.pixels_per_ray))
    local_map.landmarks.add(ids, triangulate(*views), 1)
    pose = SE3(rotation_matrix([0.0, np.radians(-8.0), 0.0]), np.zeros(3)) @ sideways_pose(baseline_m + 0.5)
    pixels = FOCAL_PX * rays_of(pose, points) + [320.0, 240.0] + rng.normal(0.0, NOISE_PX, (num, 2))
    locator = ViewLocator(local_map, MotionModel(round(1e9 * baseline_m), sideways_pose(baseline_m)), parallax, CONFIG)
    view = SimpleNamespace(camera=make_camera(), stamp_ns=round(1e9 * (baseline_m + 1.0)))
    located = locator.locate(view, ids, pixels.astype(np.float32), pose, 5.0)
    return rotation_angle_deg(located.camera_from_odom.rotation, pose.rotation)


def test_errors_of_young_landmarks_do_not_turn_the_camera():
    """With two degrees of parallax each has 3 % of error in its depth; as known ones they turn a view by 6 degrees."""
    assert np.sqrt(np.mean([rotation_error_deg(seed) ** 2 for seed in range(20)])) < 1.0
