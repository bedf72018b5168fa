"""Intrinsics from views of exactly known points."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration, guess_calibration
from visloc_ros.core.camera import project, squeeze, with_focal_length
from visloc_ros.core.geometry import SE3
from visloc_ros.localization import PoseConfig
from visloc_ros.localization.camera_estimation import (
    MAX_FOCAL_SIGMA,
    CameraEstimator,
    CameraView,
    estimate_camera,
)
from visloc_ros.localization.map_cameras import cameras_for_size
from visloc_ros.localization.pose import solve_pose_of_unknown_camera

CONFIG = PoseConfig()
CAMERA = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[520, 320, 240, -0.05])
GUESS = guess_calibration(640, 480)
EXIF = CameraCalibration(with_focal_length(GUESS.camera, 540.0), CalibrationSource.EXIF, 0.04)


def see(seed, camera=CAMERA, thickness=1.0, noise_px=0.7, outliers=0.1):
    """What a camera tells that looks at a box of points, as thick as it is wide, 4 m away; all from the images."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-2, -1.5, -2], [2, 1.5, 2], (400, 3)) * [1, 1, thickness]
    pose = SE3.from_rotation_vector(rng.normal(0, 0.15, 3), rng.normal([0, 0, -4], 0.3))
    pixels = project(camera, pose.inverse @ points)
    seen = ((pixels > 0) & (pixels < [camera.width, camera.height])).all(axis=1)
    pixels, points = pixels[seen] + rng.normal(0, noise_px, (int(seen.sum()), 2)), points[seen]
    wrong = rng.random(len(pixels)) < outliers
    pixels[wrong] = rng.uniform(0, 480, (int(wrong.sum()), 2))
    solution = solve_pose_of_unknown_camera(pixels, points, [GUESS.camera], CONFIG)
    return CameraView.from_solution(solution, pixels, points, CONFIG), pose


def views(count, **options):
    return [see(seed, **options)[0] for seed in range(count)]


def estimator(seen, prior=GUESS, map_cameras=()):
    result = CameraEstimator(prior, map_cameras, CONFIG)
    for view in seen:
        result.add(view)
    return result


def error_of(calibration, camera=CAMERA):
    return abs(np.log(calibration.camera.mean_focal_length() / camera.mean_focal_length()))


def test_views_together_determine_the_focal_length_and_the_lens():
    calibration = estimate_camera(views(6), CONFIG)
    assert calibration.source is CalibrationSource.ESTIMATED
    assert error_of(calibration) < 0.005
    assert calibration.camera.params[3] == pytest.approx(-0.05, abs=0.01)
    assert 0.0 < calibration.focal_sigma < 0.02


def test_the_uncertainty_of_one_view_covers_its_error():
    alone = [see(seed)[0] for seed in range(12)]
    normalised = [np.log(view.focal_length / 520.0) / view.focal_sigma for view in alone]
    assert np.sqrt(np.mean(np.square(normalised))) < 2.0
    assert all(0.002 < view.focal_sigma < 0.1 for view in alone)


@pytest.mark.parametrize("aspect", [3 / 4, 16 / 15, 4 / 3])
def test_views_determine_pixels_that_are_not_square(aspect):
    squeezed = squeeze(CAMERA, 640, aspect)
    calibration = estimate_camera(views(5, camera=squeezed), CONFIG)
    camera = calibration.camera
    assert camera.focal_length_x == pytest.approx(squeezed.focal_length_x, rel=3 * calibration.focal_sigma)
    assert camera.focal_length_y == pytest.approx(squeezed.focal_length_y, rel=3 * calibration.focal_sigma)
    assert f"{camera.focal_length_x:.1f} x {camera.focal_length_y:.1f} px" in str(calibration)


@pytest.mark.parametrize("radial", [-0.2, 0.0, 0.1])
def test_square_pixels_stay_square_whatever_the_lens(radial):
    camera = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[520, 320, 240, radial])
    for count in (1, 5):
        calibration = estimate_camera(views(count, camera=camera), CONFIG)
        assert calibration.camera.model.name == "SIMPLE_RADIAL"


def test_a_plane_seen_from_the_front_does_not_determine_the_focal_length():
    rng = np.random.default_rng(1)
    points = np.column_stack([rng.uniform([-2, -1.5], [2, 1.5], (300, 2)), np.zeros(300)])
    pose = SE3(np.eye(3), [0, 0, -4.0])
    pixels = project(CAMERA, pose.inverse @ points) + rng.normal(0, 0.5, (300, 2))
    solution = solve_pose_of_unknown_camera(pixels, points, [GUESS.camera], CONFIG)
    assert solution.num_inliers > 200  # a pose is found all the same, at some distance
    view = CameraView.from_solution(solution, pixels, points, CONFIG)
    assert view.focal_sigma > 0.2
    assert estimator([view]).calibration is GUESS


def test_more_views_know_more():
    sigmas = [estimator(views(count)).calibration.focal_sigma for count in (1, 3, 6)]
    assert sigmas[0] > sigmas[1] > sigmas[2]


def test_it_settles_when_further_views_would_add_nothing():
    seen = views(5)
    assert not estimator(seen[:2]).is_settled
    result = estimator(seen)
    assert result.is_settled
    settled = result.calibration
    result.add(see(99)[0])
    assert result.calibration is settled


def test_the_maps_camera_is_taken_where_the_views_confirm_it():
    near = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[523, 320, 240, -0.05])
    calibration = estimator(views(3), map_cameras=[near]).calibration
    assert (calibration.source, calibration.camera) == (CalibrationSource.MAP, near)
    assert 0.005 < calibration.focal_sigma <= 0.02


@pytest.mark.parametrize("count", [2, 5, 12])
def test_the_maps_camera_is_taken_if_it_is_the_one_however_many_views_there_are(count):
    other_lens = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[520, 320, 240, 0.1])
    calibration = estimator(views(count), map_cameras=[other_lens, CAMERA]).calibration
    assert calibration.camera is CAMERA


@pytest.mark.parametrize("ratio", [0.6, 0.9, 1.1, 1.7])
def test_the_maps_camera_is_refused_where_the_views_contradict_it(ratio):
    other = with_focal_length(CAMERA, ratio * 520.0)
    calibration = estimator(views(3), map_cameras=[other]).calibration
    assert calibration.source is CalibrationSource.ESTIMATED
    assert error_of(calibration) < 0.01


def test_of_two_cameras_in_the_map_the_right_one_is_taken():
    cameras = [with_focal_length(CAMERA, 700.0), CAMERA]
    assert estimator(views(3), map_cameras=cameras).calibration.camera is CAMERA


def test_a_view_that_contradicts_the_others_changes_nothing():
    seen = views(4)
    zoomed = see(50, camera=with_focal_length(CAMERA, 800.0))[0]
    result = estimator([*seen[:2], zoomed, *seen[2:]])
    assert error_of(result.calibration) < 0.01
    assert not zoomed.agrees_with(result.calibration)
    assert all(view.agrees_with(result.calibration) for view in seen)


def test_two_views_that_contradict_each_other_determine_nothing():
    zoomed = see(50, camera=with_focal_length(CAMERA, 800.0))[0]
    assert estimator([see(0)[0], zoomed]).calibration is GUESS


def test_exif_data_help_where_the_views_know_little():
    weak = see(3, thickness=0.05)[0]
    assert weak.focal_sigma > 0.03
    alone, helped = estimator([weak]).calibration, estimator([weak], prior=EXIF).calibration
    assert helped.focal_sigma < min(alone.focal_sigma, EXIF.focal_sigma)
    assert helped.focal_sigma <= MAX_FOCAL_SIGMA


def test_exif_data_that_are_wrong_are_not_used():
    wrong = CameraCalibration(with_focal_length(GUESS.camera, 900.0), CalibrationSource.EXIF, 0.04)
    calibration = estimator(views(3), prior=wrong).calibration
    assert calibration.source is CalibrationSource.ESTIMATED
    assert error_of(calibration) < 0.01


@pytest.mark.parametrize(
    ("focal_length", "plausible"), [(100.0, False), (300.0, True), (2000.0, True), (4000.0, False)]
)
def test_no_camera_has_any_focal_length(focal_length, plausible):
    view = see(0)[0]
    other = CameraView(
        view.map_from_camera, with_focal_length(CAMERA, focal_length), view.pixels, view.points, view.information
    )
    assert other.is_plausible == plausible


def test_one_wall_settles_nothing_however_often_it_is_seen():
    """A robot that stands before it; the views that it has when it moves on tell."""
    wall = replace(see(0)[0], information=np.diag([0.19**-2, 0.0]))
    standing = estimator([wall] * 14)
    assert standing.calibration.focal_sigma > MAX_FOCAL_SIGMA
    assert not standing.is_settled
    for view in views(6):
        standing.add(view)
    assert standing.is_settled
    assert error_of(standing.calibration) < 0.01


WIDE = pycolmap.Camera(model="SIMPLE_RADIAL", width=1920, height=1080, params=[1500, 970, 530, -0.05])


def params_for(width, height, cameras=(WIDE,)):
    return [camera.params.tolist() for camera in cameras_for_size(cameras, width, height)]


def test_images_of_the_same_size_have_the_maps_camera():
    assert cameras_for_size([WIDE], 1920, 1080) == [WIDE]
    assert cameras_for_size([WIDE, pycolmap.Camera(WIDE.todict())], 1920, 1080) == [WIDE]


def test_images_of_another_resolution_have_it_scaled():
    assert params_for(960, 540) == [pytest.approx([750, 485, 265, -0.05])]
    assert len(params_for(959, 540)) == 1  # rounded when it was halved


def test_a_portrait_has_it_turned_one_way_or_the_other():
    ways = [pytest.approx([1500, 1080 - 530, 970, -0.05]), pytest.approx([1500, 530, 1920 - 970, -0.05])]
    assert params_for(1080, 1920) == ways
    assert [params[0] for params in params_for(540, 960)] == [750, 750]


def test_a_centred_camera_turns_into_one_camera():
    centred = pycolmap.Camera(model="SIMPLE_RADIAL", width=1920, height=1080, params=[1500, 960, 540, -0.05])
    assert params_for(1080, 1920, [centred]) == [pytest.approx([1500, 540, 960, -0.05])]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1080, 1080), (1920, 1440)])
def test_a_crop_of_unknown_parts_says_nothing(width, height):
    assert params_for(width, height) == []


def test_every_camera_of_the_map_that_fits_is_listed():
    other = pycolmap.Camera(model="SIMPLE_RADIAL", width=1920, height=1080, params=[1100, 960, 540, 0.0])
    square = pycolmap.Camera(model="SIMPLE_PINHOLE", width=800, height=800, params=[700, 400, 400])
    assert cameras_for_size([WIDE, other, square], 1920, 1080) == [WIDE, other]
    assert cameras_for_size([WIDE, other, square], 800, 800) == [square]
