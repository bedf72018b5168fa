import numpy as np
import pytest

from visloc_ros.tracking.lucas_kanade import fitted_window, lucas_kanade


@pytest.mark.parametrize(("size", "window"), [((320, 240), 15), ((480, 360), 17), ((640, 480), 21), ((1280, 800), 21)])
def test_small_images_get_a_smaller_window(size, window):
    assert fitted_window(21, *size) == window


def test_nothing_is_found_without_pixels():
    image, none = np.zeros((48, 64), np.uint8), np.empty((0, 2), np.float32)
    found, good = lucas_kanade(image, image, none, none, 9, 1)
    assert len(found) == len(good) == 0
