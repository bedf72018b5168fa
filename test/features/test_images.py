import numpy as np

from visloc_ros.features.images import colmap_from_network, network_from_colmap


def test_centre_of_the_first_pixel_is_one_half():
    np.testing.assert_array_equal(colmap_from_network([[0.0, 0.0]]), [[0.5, 0.5]])


def test_corners_of_a_resized_image_stay_corners():
    # 640x480 halved: the lower right corner of the image is (639.5, 479.5) to COLMAP plus half a pixel.
    corners = np.array([[-0.5, -0.5], [319.5, 239.5]])
    np.testing.assert_allclose(colmap_from_network(corners, (0.5, 0.5)), [[0.0, 0.0], [640.0, 480.0]])


def test_conversions_are_inverse():
    pixels = np.random.default_rng(0).uniform(0, 640, (20, 2))
    np.testing.assert_allclose(network_from_colmap(colmap_from_network(pixels)), pixels, atol=1e-3)
