"""Images that do not change to the byte."""

import numpy as np

from visloc_ros.core.repeated_images import RepeatedImages


def test_an_image_that_repeats_is_found_and_one_that_differs_by_a_pixel_is_another():
    rng = np.random.default_rng(0)
    for shape in ((480, 640), (48, 64, 3), (30_000,), (3,), (0,)):
        images, image = RepeatedImages(), rng.integers(0, 256, shape, np.uint8)
        assert not images.repeats(image)
        assert images.repeats(image.copy()) == (image.size > 0)
        changed = image.copy()
        changed.reshape(-1)[:1] ^= 1
        assert not images.repeats(changed)
        assert not images.repeats(np.zeros((5, 5), np.uint8))
