"""Stylised copies and training samples: reproducible, never mirrored, and every mask stays on its picture."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from visloc_ros.core.errors import SourceError
from visloc_search.instances.samples import INPUT_SIZE, STRIDE, MaskedImage, SampleMaker
from visloc_search.instances.styles import (
    read_styles,
    stylised,
    with_histogram,
    with_low_frequencies,
)

WIDTH, HEIGHT = 320, 240


@pytest.fixture
def striped():
    """A picture whose red tells the column and green the row, and a mask that follows them."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.dstack((255 * x / WIDTH, 255 * y / HEIGHT, np.full_like(x, 90))).astype(np.uint8)
    mask = (1 + 4 * (4 * y // HEIGHT) + 4 * x // WIDTH).astype(np.uint16)
    return MaskedImage("striped", picture, mask)


def test_the_mask_of_a_sample_lies_on_its_picture_which_is_not_mirrored(striped):
    inputs, masks = SampleMaker([striped], [], 0.0, 0).batch(3, 24)
    assert inputs.shape == (24, INPUT_SIZE[1], INPUT_SIZE[0], 3)
    assert masks.shape == (24, INPUT_SIZE[1] // STRIDE, INPUT_SIZE[0] // STRIDE)
    centres = inputs[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].astype(int)
    column, row = 4 * centres[..., 0] // 256, 4 * centres[..., 1] // 256
    inside = masks > 0
    agree = (masks - 1 == 4 * row + column)[inside]
    assert inside.mean() > 0.7
    assert agree.mean() > 0.93  # the rest lies on the borders of the stripes
    for one in centres:
        seen = one[..., 2] > 80  # inside the picture
        red = one[..., 0][seen.nonzero()]
        columns = seen.nonzero()[1]
        assert np.corrcoef(columns, red)[0, 1] > 0.5


def test_copies_in_other_styles_have_the_mask_of_their_image(striped):
    """Of another size, and blue where the image is not."""
    copy = cv2.resize(striped.picture, (200, 150), interpolation=cv2.INTER_AREA)
    copy[..., 2] = 200
    inputs, masks = SampleMaker([replace(striped, copies=(copy,))], [], 0.0, 0).batch(3, 24)
    is_copy = inputs[..., 2].max(axis=(1, 2)) > 150
    assert 4 < is_copy.sum() < 20
    centres = inputs[is_copy][:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].astype(int)
    shown = 1 + 4 * (4 * centres[..., 1] // 256) + 4 * centres[..., 0] // 256
    agree = (masks[is_copy] == shown)[masks[is_copy] > 0]
    assert agree.mean() > 0.9


def test_a_step_has_the_same_samples_again_and_other_steps_others(striped):
    maker = SampleMaker([striped], [], 1.0, 5)
    again = SampleMaker([striped], [], 1.0, 5)
    for one, other in zip(maker.batch(7, 4), again.batch(7, 4), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(maker.batch(7, 4)[0], maker.batch(8, 4)[0])
    assert not np.array_equal(maker.batch(7, 4)[0], SampleMaker([striped], [], 1.0, 6).batch(7, 4)[0])


def test_styles_change_the_light_and_not_what_is_where(striped):
    rng = np.random.default_rng(0)
    copies = [stylised(striped.picture, rng) for _ in range(40)]
    assert all(copy.shape == striped.picture.shape and copy.dtype == np.uint8 for copy in copies)
    brightness = [float(copy.mean()) for copy in copies]
    assert min(brightness) < 0.6 * striped.picture.mean()
    assert max(brightness) > 1.1 * striped.picture.mean()
    columns = np.arange(WIDTH)
    lighter_to_the_right = [np.corrcoef(columns, copy.mean(axis=(0, 2)))[0, 1] for copy in copies]
    assert np.median(lighter_to_the_right) > 0.8


def test_pictures_of_a_folder_lend_their_colours_and_their_light(striped, tmp_path):
    rng = np.random.default_rng(0)
    night = rng.integers(0, 40, (300, 400, 3), np.uint8)
    night[..., 2] += 60
    cv2.imwrite(str(tmp_path / "night.png"), night[..., ::-1])
    (style,) = read_styles(str(tmp_path))
    assert max(style.shape) == 320
    colours, other = striped.picture / np.float32(255), style / np.float32(255)
    matched = with_histogram(colours, other)
    np.testing.assert_allclose(matched.mean(axis=(0, 1))[:2], other.mean(axis=(0, 1))[:2], atol=0.02)
    darker = with_low_frequencies(colours, other)
    np.testing.assert_allclose(darker.mean(axis=(0, 1)), other.mean(axis=(0, 1)), atol=0.1)
    assert read_styles("") == []
    with pytest.raises(SourceError):
        read_styles(str(tmp_path / "missing"))
