import cv2
import numpy as np
import pycolmap
import pytest

from visloc_dpvo.images import PinholeImages
from visloc_ros.core.camera import project, rays

CAMERAS = {
    "PINHOLE": (400.0, 410.0, 330.0, 236.0),
    "SIMPLE_RADIAL": (400.0, 330.0, 236.0, -0.08),
    "OPENCV": (400.0, 410.0, 330.0, 236.0, -0.2, 0.05, 0.001, -0.0005),
    "OPENCV_FISHEYE": (300.0, 300.0, 318.0, 243.0, -0.02, 0.004, -0.002, 0.0003),
    "FULL_OPENCV": (400.0, 410.0, 330.0, 236.0, -0.1, 0.02, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0),
}
POINTS = np.array([[0.1, -0.2, 1.0], [-0.35, 0.25, 1.0], [0.3, 0.15, 1.0]])


def make_camera(model, width=640, height=480):
    return pycolmap.Camera(model=model, width=width, height=height, params=CAMERAS[model])


def with_spots(camera, pixels, sigma=2.0):
    """A grey image with a bright spot at each pixel (COLMAP's convention)."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    spots = [np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / sigma**2) for u, v in pixels]
    return (255.0 * np.max(spots, axis=0)).astype(np.uint8)


def find_spot(image, near):
    """Centre of mass around an expected place; the first pixel is at (0, 0)."""
    column, row = np.round(near).astype(int)
    window = image[row - 8 : row + 9, column - 8 : column + 9].astype(np.float64)
    y, x = np.mgrid[row - 8 : row + 9, column - 8 : column + 9]
    return np.array([np.sum(x * window), np.sum(y * window)]) / window.sum()


@pytest.mark.parametrize("max_width", [640, 400, 320])
@pytest.mark.parametrize("model", CAMERAS)
def test_rays_survive_undistortion_resizing_and_cropping(model, max_width):
    camera = make_camera(model)
    images = PinholeImages(camera, max_width)
    planes = images(with_spots(camera, project(camera, POINTS)))
    fx, fy, cx, cy = 4.0 * images.quarter_intrinsics
    for x, y, _ in POINTS:
        expected = np.array([fx * x + cx, fy * y + cy])
        np.testing.assert_allclose(find_spot(planes[0], expected), expected, atol=0.06)


def test_a_pinhole_image_stays_as_it_is_but_for_the_order_of_channels():
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    planes = PinholeImages(make_camera("PINHOLE"), 10_000)(image)
    np.testing.assert_array_equal(planes, cv2.cvtColor(image, cv2.COLOR_RGB2BGR).transpose(2, 0, 1))


@pytest.mark.parametrize("model", ["PINHOLE", "OPENCV"])
def test_a_grey_image_is_the_same_as_its_colour_copy(model):
    image = np.random.default_rng(0).integers(0, 256, (480, 640), dtype=np.uint8)
    images = PinholeImages(make_camera(model), 320)
    np.testing.assert_array_equal(images(image), images(np.repeat(image[:, :, None], 3, axis=2)))


def test_intrinsics_scale_with_the_resize():
    camera = make_camera("PINHOLE")
    whole, half = (PinholeImages(camera, width) for width in (640, 320))
    np.testing.assert_allclose(whole.quarter_intrinsics, np.array([400.0, 410.0, 329.5, 235.5]) / 4)
    np.testing.assert_allclose(half.quarter_intrinsics, np.array([200.0, 205.0, 164.5, 117.5]) / 4)
    assert half.size == (320, 240)
    assert half.map_size == (60, 80)


def test_cropping_is_to_multiples_of_sixteen_and_keeps_the_principal_point():
    params = [700.0, 700.0, 610.0, 180.0]
    images = PinholeImages(pycolmap.Camera(model="PINHOLE", width=1226, height=370, params=params), 10_000)
    assert images.size == (1216, 368)
    np.testing.assert_allclose(4.0 * images.quarter_intrinsics[2:], [609.5, 179.5])
    assert images(np.zeros((370, 1226), np.uint8)).shape == (3, 368, 1216)


def test_images_are_never_enlarged():
    camera = pycolmap.Camera(model="PINHOLE", width=160, height=120, params=[100.0, 100.0, 80.0, 60.0])
    assert PinholeImages(camera, 320).size == (160, 112)
    assert PinholeImages(camera, 320).large_enough


def test_images_can_be_too_small():
    camera = pycolmap.Camera(model="PINHOLE", width=60, height=40, params=[50.0, 50.0, 30.0, 20.0])
    assert not PinholeImages(camera, 320).large_enough


def test_what_the_lens_does_not_see_continues_the_border():
    """A black rim would be a pattern that stands still in the image."""
    camera = pycolmap.Camera(model="SIMPLE_RADIAL", width=320, height=240, params=[200.0, 160.0, 120.0, 0.3])
    planes = PinholeImages(camera, 320)(np.full((240, 320), 90, np.uint8))
    corner = rays(camera, [[1.0, 1.0]])
    assert np.all(np.isfinite(corner))
    assert planes.min() == planes.max() == 90
