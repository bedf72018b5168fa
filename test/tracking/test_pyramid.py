import cv2
import numpy as np

from visloc_ros.tracking.pyramid import Pyramid


def test_a_pixel_lies_at_half_its_coordinates_on_the_next_level():
    image = np.zeros((64, 96), dtype=np.uint8)
    cv2.circle(image, (40, 24), 6, 255, -1)
    half = Pyramid(image).level(1).astype(float)
    y, x = np.mgrid[: half.shape[0], : half.shape[1]]
    np.testing.assert_allclose([(half * x).sum() / half.sum(), (half * y).sum() / half.sum()], [20, 12], atol=0.05)


def test_every_level_is_made_once():
    pyramid = Pyramid(np.zeros((64, 96), dtype=np.uint8))
    assert pyramid.level(2).shape == (16, 24)
    assert pyramid.level(2) is pyramid.level(2)
