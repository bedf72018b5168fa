import numpy as np
import pycolmap
import pytest

from visloc_ros.tracking.lucas_kanade import fitted_window, lucas_kanade
from visloc_ros.tracking.pixels import is_inside, pixels_of, pixels_per_ray, undistort

LENSES = [
    ("OPENCV", [400, 410, 320, 240, -0.28, 0.07, 2e-4, 1e-5]),
    ("OPENCV_FISHEYE", [284, 285, 320, 240, 8e-4, 0.031, -0.03, 0.005]),
]


@pytest.mark.parametrize(("model", "parameters"), LENSES)
def test_rays_lead_back_to_their_pixels(model, parameters):
    camera = pycolmap.Camera(model=model, width=640, height=480, params=parameters)
    pixels = np.random.default_rng(0).uniform([20, 20], [620, 460], (100, 2)).astype(np.float32)
    rays, known = undistort(camera, pixels)
    assert known.all()
    points = 3.0 * np.column_stack([rays, np.ones(100)])
    np.testing.assert_allclose(pixels_of(camera, points), pixels, atol=1e-3)


@pytest.mark.parametrize(("model", "parameters"), LENSES)
def test_a_pixel_is_as_long_as_the_lens_makes_it(model, parameters):
    camera = pycolmap.Camera(model=model, width=640, height=480, params=parameters)
    pixels = np.random.default_rng(1).uniform([20, 20], [620, 460], (100, 2)).astype(np.float32)
    rays, _ = undistort(camera, pixels)
    right, down = (undistort(camera, pixels + np.float32(step))[0] - rays for step in ([1, 0], [0, 1]))
    area = np.abs(right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0])
    np.testing.assert_allclose(pixels_per_ray(camera, rays), 1.0 / np.sqrt(area), rtol=0.02)


def test_pixels_that_no_ray_reaches_are_not_known():
    camera = pycolmap.Camera(model="OPENCV_FISHEYE", width=640, height=480, params=[100, 100, 320, 240, 0, 0, 0, 0])
    _, known = undistort(camera, np.array([[320.0, 240.0], [639.0, 240.0]], dtype=np.float32))
    assert known.tolist() == [True, False]


def test_points_behind_the_camera_have_no_pixel():
    camera = pycolmap.Camera(model="PINHOLE", width=64, height=48, params=[50, 50, 32, 24])
    pixels = pixels_of(camera, np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))
    np.testing.assert_allclose(pixels[0], [31.5, 23.5])
    assert np.isnan(pixels[1]).all()
    assert is_inside(pixels, np.zeros((48, 64), np.uint8), 0.0).tolist() == [True, False]


def test_the_border_is_that_of_the_outermost_pixel_centres():
    pixels = np.array([[0, 0], [63, 47], [-0.1, 5], [63.1, 5]], dtype=np.float32)
    image = np.zeros((48, 64), np.uint8)
    assert is_inside(pixels, image, 0.0).tolist() == [True, True, False, False]
    assert not is_inside(pixels, image, 1.0).any()


@pytest.mark.parametrize(("size", "window"), [((320, 240), 15), ((480, 360), 17), ((640, 480), 21), ((1280, 800), 21)])
def test_small_images_get_a_smaller_window(size, window):
    assert fitted_window(21, *size) == window


def test_nothing_is_found_without_pixels():
    image, none = np.zeros((48, 64), np.uint8), np.empty((0, 2), np.float32)
    found, good = lucas_kanade(image, image, none, none, 9, 1)
    assert len(found) == len(good) == 0
