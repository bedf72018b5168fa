"""Images that do not change to the byte, and those that show what an earlier one did."""

import cv2
import numpy as np
import pytest

from visloc_ros.core.repeated_images import RepeatedImages, StaleImages


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


def walk(steps_px, seed=0):
    """Images (120, 160) of a camera that moves by so many pixels before each, without noise."""
    rng = np.random.default_rng(seed)
    wall = cv2.GaussianBlur(rng.normal(0.0, 1.0, (120, 2000)), (0, 0), 6.0)
    wall = 128.0 + 40.0 * wall / wall.std()
    return [wall[:, start : start + 160] for start in np.cumsum([200, *steps_px])]


def noisy(image, rng):
    return np.clip(image + rng.normal(0.0, 3.0, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", ["grey", "colour"])
def test_an_earlier_image_that_a_moving_camera_sends_again_is_stale(shape):
    rng, found, images = np.random.default_rng(1), [], StaleImages()
    clean = walk([5] * 40)
    for step in range(40):
        image = noisy(clean[step - 8 if step >= 12 and step % 3 == 0 else step], rng)
        found.append(images.is_stale(image if shape == "grey" else np.dstack([image] * 3)))
    assert [step for step, is_stale in enumerate(found) if is_stale] == list(range(12, 40, 3))


def test_a_camera_that_turns_fast_or_has_always_sent_old_images_is_found_out():
    rng = np.random.default_rng(1)
    for steps_px, first, begins in (([5] * 60, 22, 28), ([27] * 60, 40, 40)):
        images, clean = StaleImages(), walk(steps_px)
        shown = [step - 8 if step >= first and step % 3 == 1 else step for step in range(20, 60)]
        found = [20 + index for index, step in enumerate(shown) if images.is_stale(noisy(clean[step], rng))]
        assert found == list(range(begins, 60, 3))


def test_a_whole_buffer_that_is_sent_again_is_stale_and_no_more():
    rng, images, clean = np.random.default_rng(1), StaleImages(), walk([5] * 40)
    shown = [*range(20), *range(8, 18), *range(30, 40)]
    found = [index for index, step in enumerate(shown) if images.is_stale(noisy(clean[step], rng))]
    assert found == list(range(20, 28))


def test_after_something_has_passed_before_a_camera_at_rest_no_more_than_one_image_is_stale():
    rng, images = np.random.default_rng(1), StaleImages()
    clean, passing = walk([0] * 30)[0], walk([0], seed=3)[0]
    found = [images.is_stale(noisy(passing if 10 <= step < 13 else clean, rng)) for step in range(30)]
    assert sum(found) <= 1


def test_no_image_of_a_camera_that_stands_turns_back_or_flickers_is_stale():
    rng = np.random.default_rng(1)
    still, lit = walk([0] * 20), [50.0 * (step % 2) for step in range(20)]
    swaying = walk([7 if (step // 6) % 2 == 0 else -6 for step in range(40)])
    for clean in (still, [image + light for image, light in zip(still, lit, strict=False)], swaying):
        images = StaleImages()
        assert not any(images.is_stale(noisy(image, rng)) for image in clean)
