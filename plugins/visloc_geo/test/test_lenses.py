import math

import numpy as np
import pytest

from visloc_geo.providers.lenses import Lens, perspective_camera, undistort_fisheye
from visloc_ros.core.camera import project

SIZE = (320, 240)


def spot(pixel):
    """An image with a round spot about a pixel, counted from the image's corner."""
    columns, rows = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    away = np.hypot(columns - pixel[0], rows - pixel[1])
    return np.repeat((255 * np.exp(-((away / 3.0) ** 2)))[:, :, None], 3, axis=2).astype(np.uint8)


def centroid(image):
    weights = image[:, :, 0].astype(float)
    columns, rows = np.meshgrid(np.arange(image.shape[1]) + 0.5, np.arange(image.shape[0]) + 0.5)
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("direction", [(0.0, 0.0), (0.3, 0.1), (-0.5, 0.3), (0.2, -0.5)])
def test_a_direction_of_a_fisheye_is_where_the_perspective_camera_sees_it(direction):
    lens = Lens("fisheye", (0.5, 0.05, -0.01))
    x, y = direction
    theta = math.atan(math.hypot(x, y))
    radius = 0.5 * 320 * theta * (1 + 0.05 * theta**2 - 0.01 * theta**4)
    aside = np.array([x, y]) / max(math.hypot(x, y), 1e-9) * radius
    image, camera = undistort_fisheye(spot(np.array([160.0, 120.0]) + aside), lens)
    (expected,) = project(camera, np.array([[x, y, 1.0]]))
    assert centroid(image) == pytest.approx(expected, abs=0.3)


def test_a_focal_length_is_a_share_of_the_longer_side():
    for width, height in ((400, 300), (300, 400)):
        camera = perspective_camera(width, height, Lens("perspective", (0.8, -0.1, 0.02)))
        assert list(camera.params) == pytest.approx([320.0, width / 2, height / 2, -0.1, 0.02])
