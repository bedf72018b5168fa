"""Every usual kind of pixels becomes 8-bit grey or RGB; what is no image is named."""

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.errors import SourceError
from visloc_ros.core.types import Frame

CAMERA = pycolmap.Camera(model="PINHOLE", width=4, height=3, params=[5.0, 5.0, 2.0, 1.5])
RGB = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
GREY = RGB[:, :, 0]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (RGB, RGB),
        (GREY, GREY),
        (GREY[:, :, None], GREY),
        (np.dstack((RGB, np.full((3, 4), 7, np.uint8))), RGB),
        (RGB.astype(np.uint16) * 256 + 255, RGB),
        (GREY / 255.0, GREY),
        ((RGB / 255.0).astype(np.float32), RGB),
        (RGB[:, :, ::-1], RGB[:, :, ::-1].copy()),
    ],
    ids=["RGB", "grey", "one channel", "RGBA", "16 bit", "grey 0 to 1", "RGB 0 to 1", "a view"],
)
def test_usual_images_are_taken(given, kept):
    frame = Frame(0, given, CAMERA)
    np.testing.assert_array_equal(frame.image, kept)
    assert frame.image.dtype == np.uint8
    assert frame.image.flags["C_CONTIGUOUS"]
    assert frame.rgb.shape == (3, 4, 3)
    assert frame.grey.shape == (3, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((0, 0), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((3, 4, 2), np.uint8), "shape"),
        (np.zeros((1, 3, 4, 3), np.uint8), "shape"),
        (np.zeros(12, np.uint8), "shape"),
        (RGB.astype(float), "numbers from "),
        (np.full((3, 4), np.nan), "numbers from nan to nan"),
        (RGB.astype(np.int32), "type int32"),
        (RGB > 128, "type bool"),
        (np.full((3, 4), "pixel"), "type <U5"),
        (RGB.tolist(), "type list"),
        (None, "type NoneType"),
    ],
)
def test_what_is_no_image_is_named(given, said):
    with pytest.raises(SourceError, match=f"the image .*{said}.*: give uint8"):
        Frame(0, given, CAMERA)
