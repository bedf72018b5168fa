from itertools import pairwise

import cv2
import numpy as np
import pycolmap
import pytest
from odometry_scenes import make_camera, texture

from visloc_ros.core.camera import HALF_PIXEL, project
from visloc_ros.core.types import Frame
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import ImagePreparation
from visloc_ros.odometry.klt.odometry import BLUR_RATIO
from visloc_ros.odometry.klt.tracking import cell_px, corner_response, detect_corners, follow, follow_from_any, measure
from visloc_ros.tracking.pixels import is_inside, pixels_per_ray

CONFIG = KltConfig()


def corners_of(image):
    return detect_corners(image, np.empty((0, 2), np.float32), CONFIG)


def moved_by(image, matrix):
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("shift", [(0.4, -0.3), (6.5, 3.25), (-25.0, 14.0)])
def test_a_known_shift_is_followed_to_a_tenth_of_a_pixel(shift):
    image = texture(480, 640)
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], dtype=np.float64)
    pixels = corners_of(image)
    pixels = pixels[is_inside(pixels + np.float32(shift), image, 12.0)]
    found, good = follow(image, moved_by(image, matrix), pixels, pixels, CONFIG.window_px, CONFIG.pyramid_levels)
    assert good.mean() > 0.85
    errors = np.linalg.norm(found[good] - pixels[good] - shift, axis=1)
    assert np.median(errors) < 0.05
    assert np.percentile(errors, 95) < 0.15


@pytest.mark.parametrize("shift_px", [1.5, 30.0])
def test_a_near_guess_finds_as_much_as_a_far_one_also_where_it_is_not_near(shift_px):
    image = texture(480, 640)
    after = moved_by(image, np.array([[1, 0, shift_px], [0, 1, 0]], dtype=np.float64))
    pixels = corners_of(image)
    pixels = pixels[is_inside(pixels + np.float32([shift_px, 0.0]), image, 12.0)]
    near = follow_from_any(image, after, pixels, [pixels], CONFIG, is_near=True)
    far = follow_from_any(image, after, pixels, [pixels], CONFIG)
    assert np.count_nonzero(near.good) > 0.95 * np.count_nonzero(far.good) > 0.5 * len(pixels)
    both = near.good & far.good
    assert np.median(np.linalg.norm(near.pixels[both] - far.pixels[both], axis=1)) < 0.02
    assert near.off_px == pytest.approx(shift_px, abs=0.5)


def test_a_prediction_bridges_a_jump_that_the_search_alone_does_not():
    image = texture(480, 640)
    matrix = np.array([[1, 0, 150.0], [0, 1, 0]], dtype=np.float64)
    after = moved_by(image, matrix)
    pixels = corners_of(image)
    inside = pixels[(pixels[:, 0] > 20) & (pixels[:, 0] < 460)]
    predicted = inside + np.array([147.0, 2.0], dtype=np.float32)
    _, good_alone = follow(image, after, inside, inside, CONFIG.window_px, CONFIG.pyramid_levels)
    found, _ = follow(image, after, inside, predicted, CONFIG.window_px, levels=0)
    assert np.median(np.linalg.norm(found - inside - (150.0, 0.0), axis=1)) < 0.1
    assert good_alone.mean() < 0.5


def test_other_texture_is_not_followed():
    pixels = corners_of(texture(480, 640))
    _, good = follow(
        texture(480, 640), texture(480, 640, seed=9), pixels, pixels, CONFIG.window_px, CONFIG.pyramid_levels
    )
    assert good.mean() < 0.1


@pytest.mark.parametrize("size", [(240, 320), (480, 752), (800, 1280)])
def test_corners_are_spread_over_the_image_at_any_size(size):
    image = texture(*size)
    pixels = corners_of(image)
    assert 0.5 * CONFIG.max_features <= len(pixels) <= CONFIG.max_features
    quadrants, _, _ = np.histogram2d(pixels[:, 1], pixels[:, 0], bins=2, range=[[0, size[0]], [0, size[1]]])
    assert quadrants.min() > 0.15 * len(pixels)


def test_new_corners_keep_away_from_followed_ones():
    image = texture(480, 640)
    first = corners_of(image)
    second = detect_corners(image, first[::2], CONFIG)
    gaps = np.linalg.norm(second[:, None] - first[None, ::2], axis=2).min(axis=1)
    assert gaps.min() > 0.5 * cell_px(image, CONFIG)
    assert len(second) + len(first[::2]) <= CONFIG.max_features


def test_a_dim_half_gets_corners_and_a_uniform_image_none():
    image = texture(480, 640)
    image[:, 320:] = 100 + image[:, 320:] // 8
    pixels = corners_of(image)
    assert (pixels[:, 0] > 320).mean() > 0.2
    assert len(corners_of(np.full((480, 640), 90, np.uint8))) == 0


def test_features_have_their_rays_and_the_scale_of_an_error_and_lack_pixels_beyond_a_fisheye():
    camera = pycolmap.Camera(model="OPENCV_FISHEYE", width=640, height=480, params=[100, 100, 320, 240, 0, 0, 0, 0])
    pixels = np.array([[320.0, 240.0], [400.0, 300.0], [639.0, 240.0]], dtype=np.float32)
    features = measure(camera, np.array([7, 8, 9]), pixels)
    assert features.ids.tolist() == [7, 8]
    np.testing.assert_array_equal(features.pixels, pixels[:2])
    points = np.column_stack([features.rays, np.ones(2)])
    np.testing.assert_allclose(project(camera, points) - HALF_PIXEL, pixels[:2], atol=1e-3)
    np.testing.assert_array_equal(features.pixels_per_ray, pixels_per_ray(camera, features.rays))


@pytest.mark.parametrize("gain", [0.4, 1.6])
def test_an_exposure_step_is_taken_out(gain):
    image = np.clip(texture(240, 320), 60, 150)
    prepare, camera = ImagePreparation(CONFIG), make_camera(320, 240)
    before = prepare.prepare(Frame(0, image, camera))
    prepare.accept(before)
    changed = np.clip(image.astype(float) * gain, 0, 255).astype(np.uint8)
    after = prepare.prepare(Frame(1, changed, camera))
    assert np.abs(after.grey.astype(int) - before.grey.astype(int)).mean() < 3.0


def test_a_new_exposure_is_adopted_step_by_step():
    image = np.clip(texture(240, 320), 60, 150)
    prepare, camera = ImagePreparation(CONFIG), make_camera(320, 240)
    prepare.accept(prepare.prepare(Frame(0, image, camera)))
    greys = []
    for stamp in range(1, 200):
        view = prepare.prepare(Frame(stamp, image // 2, camera))
        prepare.accept(view)
        greys.append(view.grey.astype(int))
    assert max(np.abs(after - before).max() for before, after in pairwise(greys)) <= 5
    np.testing.assert_array_equal(greys[-1], image // 2)


def test_large_images_are_halved_with_their_cameras():
    camera = pycolmap.Camera(model="OPENCV", width=1281, height=801, params=[900, 910, 630, 410, -0.1, 0.02, 1e-3, 0])
    view = ImagePreparation(CONFIG).prepare(Frame(0, texture(801, 1281), camera))
    assert view.grey.shape == (view.camera.height, view.camera.width) == (400, 640)
    points = np.array([[0.1, -0.2, 2.0], [-0.5, 0.3, 1.5]])
    np.testing.assert_allclose(project(view.camera, points), project(camera, points) / 2.0, atol=1e-9)


def test_corners_do_not_depend_on_the_strips_that_they_are_computed_in():
    image = texture(300, 200)
    np.testing.assert_array_equal(corner_response(image), cv2.cornerMinEigenVal(image, 9))


def test_black_frames_do_not_count_as_exposure():
    image, camera = texture(240, 320), make_camera(320, 240)
    prepare = ImagePreparation(CONFIG)
    prepare.prepare(Frame(0, image, camera))
    black = prepare.prepare(Frame(1, np.zeros_like(image), camera))
    assert black.contrast < CONFIG.min_contrast
    np.testing.assert_array_equal(prepare.prepare(Frame(2, image, camera)).grey, image)


def test_blur_lowers_sharpness():
    image, camera = texture(240, 320), make_camera(320, 240)
    prepare = ImagePreparation(CONFIG)
    prepare.accept(prepare.prepare(Frame(0, image, camera)))
    blurred = prepare.prepare(Frame(1, cv2.GaussianBlur(image, (0, 0), 6.0), camera))
    assert prepare.relative_sharpness(blurred) < BLUR_RATIO
