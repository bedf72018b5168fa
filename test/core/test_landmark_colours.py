"""Colours of landmarks: fixed, and those of near numbers easy to tell apart."""

import cv2
import numpy as np

from visloc_ros.core.landmark_colours import landmark_colours

GREY = 170


def test_a_landmark_has_the_same_colour_wherever_it_is_drawn():
    colours = landmark_colours(np.arange(65))
    assert (colours.shape, colours.dtype) == ((65, 3), np.uint8)
    assert np.array_equal(landmark_colours(np.array([64, 3, 3])), colours[[64, 3, 3]])
    assert landmark_colours(np.empty(0, np.int32)).shape == (0, 3)


def test_what_is_no_landmark_is_grey():
    assert np.all(landmark_colours(np.zeros(2, int)) == GREY)


def test_colours_of_near_numbers_lie_far_apart():
    rgb = landmark_colours(np.arange(1, 200))
    lab = cv2.cvtColor((rgb[None] / 255.0).astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    for step in range(1, 5):
        assert np.linalg.norm(lab[step:] - lab[:-step], axis=1).min() > 20.0  # 2.3 is just noticeable
