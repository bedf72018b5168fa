"""Small pictures of map images."""

import cv2
import numpy as np
import pytest

from visloc_ros.mapping.thumbnails import encode_thumbnail


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (240, 320)), ((720, 1280), (180, 320)), ((376, 1241), (97, 320)), ((240, 320), (240, 320))],
)
def test_they_have_the_shape_of_the_image(size, expected):
    assert decoded(np.zeros(size, np.uint8)).shape[:2] == expected


def test_an_image_that_is_small_is_not_enlarged():
    assert decoded(np.zeros((90, 120), np.uint8)).shape[:2] == (90, 120)


def test_colours_stay_what_they_are():
    red = np.zeros((240, 320, 3), np.uint8)
    red[..., 0] = 200
    blue, green, found = decoded(red)[120, 160]
    assert abs(int(found) - 200) < 10
    assert max(blue, green) < 10


def decoded(image):
    return cv2.imdecode(np.frombuffer(encode_thumbnail(image), np.uint8), cv2.IMREAD_COLOR_BGR)
