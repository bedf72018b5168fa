from dataclasses import replace

import numpy as np
import pycolmap
import pytest
from odometry_scenes import FOCAL_PX, disturbed, make_bundle, make_camera

from visloc_ros.core import camera as cameras
from visloc_ros.core.geometry import SE3
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.lens import LensProblem, LensSchedule, bent, is_nominal, learn_lens
from visloc_ros.odometry.klt.local_map import LocalMap
from visloc_ros.odometry.klt.tracking import measure

CALIBRATED = pycolmap.Camera(model="OPENCV", width=640, height=480, params=[FOCAL_PX, FOCAL_PX, 320, 240, 0, 0, 0, 0])


def seen_by(true_camera, noise_px=0.1):
    """What a camera sees of a true scene, taken for the calibrated one: a lens problem, disturbed."""
    truth = make_bundle(num_cameras=10, num_points=200)
    inside = np.all(np.abs(truth.rays) < [0.8, 0.6], axis=1)
    truth = replace(
        truth, camera_rows=truth.camera_rows[inside], point_rows=truth.point_rows[inside], rays=truth.rays[inside]
    )
    pixels = cameras.project(true_camera, np.column_stack([truth.rays, np.ones(len(truth.rays))])) - cameras.HALF_PIXEL
    pixels += np.random.default_rng(3).normal(0.0, noise_px, pixels.shape)
    pixels = pixels.astype(np.float32)
    seen = measure(CALIBRATED, np.arange(len(pixels)), pixels)
    bundle = replace(truth, rays=seen.rays, pixels_per_ray=seen.pixels_per_ray)
    return LensProblem(disturbed(bundle, turn=0.002, shift=0.01, points=0.02), pixels, CALIBRATED, np.zeros(2))


@pytest.mark.parametrize("radial", [(-0.06, 0.0), (0.02, -0.06)])
def test_a_lens_that_is_not_as_calibrated_is_learnt(radial):
    learnt = learn_lens(seen_by(bent(CALIBRATED, np.array(radial))))
    assert learnt is not None
    adjusted, change = learnt
    radii = np.linspace(0.0, 0.75, 20)
    bends = [(k1 * radii**3 + k2 * radii**5) * FOCAL_PX for k1, k2 in (radial, change)]
    assert np.abs(bends[0] - bends[1]).max() < 0.25 * np.abs(bends[0]).max()
    assert np.median(np.linalg.norm(adjusted.residuals(), axis=1)) < 0.2


def test_a_calibrated_lens_is_left_alone():
    assert learn_lens(seen_by(CALIBRATED)) is None


@pytest.mark.parametrize("model", ["SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "FULL_OPENCV"])
def test_every_radial_model_bends_alike(model):
    camera = pycolmap.Camera.create_from_model_name(1, model, FOCAL_PX, 640, 480)
    points = np.array([[0.5, 0.4, 1.0], [-0.3, 0.1, 1.0]])
    expected = cameras.project(bent(CALIBRATED, np.array([-0.05, 0.01])), points)
    np.testing.assert_allclose(cameras.project(bent(camera, np.array([-0.05, 0.01])), points), expected, atol=1e-9)


def test_only_a_calibration_without_distortion_is_nominal():
    change = np.array([0.01, -0.02])
    assert is_nominal(make_camera(), np.zeros(2))
    assert is_nominal(bent(CALIBRATED, change), change)
    assert not is_nominal(bent(CALIBRATED, change), np.zeros(2))
    assert not is_nominal(
        pycolmap.Camera(model="FOV", width=640, height=480, params=[400, 400, 320, 240, 0.9]), np.zeros(2)
    )


def test_a_map_is_seen_again_through_a_learnt_lens():
    local_map, change = LocalMap(0, KltConfig()), np.array([-0.05, 0.0])
    pixels = np.array([[100, 80], [320, 240], [600, 400]], np.float32)
    features = measure(CALIBRATED, np.arange(3), pixels)
    local_map.add_keyframe(0, SE3.identity(), features, np.zeros((480, 640), np.uint8), CALIBRATED)
    local_map.change_lens(change, 0)
    seen = cameras.project(bent(CALIBRATED, change), np.column_stack([local_map.last.features.rays, np.ones(3)]))
    np.testing.assert_allclose(seen - cameras.HALF_PIXEL, pixels, atol=1e-3)
    assert np.linalg.norm(local_map.last.features.rays - features.rays, axis=1).max() > 0.005


def test_a_wrong_lens_is_looked_at_over_longer_and_longer_ways():
    schedule = LensSchedule()
    looks = [(schedule.next_number, schedule.num_keyframes)]
    for _ in range(4):
        schedule.advance(schedule.next_number, 1, is_learnt=True)
        looks.append((schedule.next_number, schedule.num_keyframes))
    assert [number for number, _ in looks] == [8, 9, 10, 12, 14]
    assert [keyframes for _, keyframes in looks] == [20, 40, 60, 60, 60]


def test_looks_at_the_lens_get_rarer_and_shorter_where_the_window_waits_for_them():
    schedule = LensSchedule()
    for _ in range(3):
        schedule.advance(30, 1, is_learnt=True)
    schedule.advance(30, 60, is_learnt=True)
    assert (schedule.next_number, schedule.num_keyframes) == (60, 30)
    schedule.advance(60, 60, is_learnt=True)
    assert (schedule.next_number, schedule.num_keyframes) == (120, 20)


def test_a_good_lens_is_looked_at_ever_more_rarely():
    schedule, numbers = LensSchedule(), []
    for _ in range(4):
        schedule.advance(schedule.next_number, 1, is_learnt=False)
        numbers.append(schedule.next_number)
    assert (numbers, schedule.num_keyframes) == ([10, 13, 17, 22], 20)
