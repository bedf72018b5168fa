import numpy as np
import pytest
from odometry_scenes import make_camera, random_points, rays_of, sideways_pose

from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.depth_prior import LogRatio, ScaleFilter, compare_depths
from visloc_ros.odometry.klt.local_map import LocalMap
from visloc_ros.odometry.klt.tracking import Features

IMAGE_ERROR = 0.05


def compared(metres_per_unit, number=300, outliers=0.2, seed=0, shape=(60, 80)):
    """A noisy depth image with outliers on one side only, compared with exact landmarks."""
    rng = np.random.default_rng(seed)
    units = rng.uniform(1.0, 3.0, shape)
    depth = metres_per_unit * units * (1.0 + rng.normal(0.0, 0.1, shape))
    depth[rng.random(shape) < outliers] *= 3.0
    places = rng.random((number, 2))
    columns, rows = (places * [shape[1], shape[0]]).astype(int).T
    return compare_depths(depth.astype(np.float32), places, units[rows, columns])


def test_a_fifth_of_wrong_pixels_does_not_bias_the_ratio():
    errors = [compared(2.5, seed=seed).value - np.log(2.5) for seed in range(40)]
    assert abs(np.mean(errors)) < 0.01
    assert np.std(errors) < 0.02


def test_the_variance_is_that_of_the_ratios():
    found = [compared(2.5, seed=seed) for seed in range(200)]
    normalised = np.square([one.value - np.mean([two.value for two in found]) for one in found])
    assert 0.6 < np.mean(normalised / [one.variance for one in found]) < 1.7


def test_unknown_depths_and_places_outside_are_left_out():
    depth = np.full((6, 8), 4.0, np.float32)
    depth[:, :4] = np.nan
    depth[0] = -1.0
    places = np.column_stack([np.linspace(-0.2, 1.2, 60), np.full(60, 0.7)])
    found = compare_depths(depth, places, np.full(60, 2.0))
    assert found.value == pytest.approx(np.log(2.0), abs=1e-6)
    assert compare_depths(depth, places * [1.0, 0.0], np.full(60, 2.0)) is None


def test_too_few_depths_say_nothing():
    assert compare_depths(np.ones((4, 4), np.float32), np.full((5, 2), 0.5), np.ones(5)) is None


def walked(seed, drift, number=80, correlation=0.0):
    """A map whose unit walks at random, measured and held by depth images; the filter and the true log scale."""
    rng = np.random.default_rng(seed)
    scales, true, image_error = ScaleFilter(), np.log(3.0), 0.0
    for _ in range(number):
        true += rng.normal(0.0, drift)
        scales.drift(drift**2)
        fresh = rng.normal(0.0, IMAGE_ERROR)
        image_error = correlation * image_error + np.sqrt(1.0 - correlation**2) * fresh
        scales.update(LogRatio(true + image_error, 1e-6))
        true -= np.log(scales.take_drift())
    return scales, true


@pytest.mark.parametrize("drift", [0.0, 0.01])
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_the_scale_is_as_wrong_as_it_says(drift, correlation):
    values = []
    for seed in range(150):
        scales, true = walked(seed, drift, correlation=correlation)
        values.append(((np.log(scales.scale.metres_per_unit) - true) / scales.scale.log_sigma) ** 2)
    assert 0.4 < np.mean(values) < 2.0


def test_drift_is_taken_out_of_the_map():
    found = [np.log(scales.scale.metres_per_unit) - true for scales, true in (walked(seed, 0.01) for seed in range(40))]
    assert np.std(found) < 0.03 < 0.5 * 0.01 * np.sqrt(80)


def test_without_drift_the_scale_becomes_better_than_any_image():
    scales, true = walked(seed=3, drift=0.0, number=100)
    assert abs(np.log(scales.scale.metres_per_unit) - true) < 0.02
    assert scales.scale.log_sigma < 0.3 * IMAGE_ERROR


def test_no_depth_no_scale():
    scales = ScaleFilter()
    scales.drift(0.1)
    assert scales.scale is None
    assert scales.take_drift() == 1.0


def test_a_map_made_larger_about_the_camera_looks_the_same():
    camera_from_odom, points, ids = sideways_pose(0.7), random_points(50), np.arange(50, dtype=np.int64)
    rays = rays_of(camera_from_odom, points)
    features = Features(ids, rays.astype(np.float32), rays, np.ones(50))
    local_map, blank = LocalMap(0, KltConfig()), np.zeros((48, 64), np.uint8)
    for number, pose in enumerate((sideways_pose(0.2), camera_from_odom)):
        local_map.add_keyframe(number, pose, features, blank, make_camera())
    local_map.landmarks.add(ids, points, 0)
    before = rays_of(local_map.keyframes[0].camera_from_odom, points)
    local_map.rescale(1.3, camera_from_odom.inverse.translation)
    first, last = (keyframe.camera_from_odom for keyframe in local_map.keyframes)
    assert last.is_close(camera_from_odom, 1e-12, 1e-6)
    np.testing.assert_allclose(rays_of(first, local_map.landmarks.points), before, atol=1e-12)
    np.testing.assert_allclose((last @ local_map.landmarks.points)[:, 2], 1.3 * (last @ points)[:, 2], atol=1e-12)
