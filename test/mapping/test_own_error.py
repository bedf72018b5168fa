"""What a map says of its own error."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.manifest import Manifest, OwnError, UncertaintyInfo
from visloc_ros.mapping.own_error import UNKNOWN, length_in_words, own_error_in_words

NOTHING = np.zeros((6, 6)).tolist()
KNOWN = UncertaintyInfo(0.0, 0.0, NOTHING, NOTHING, 0.1, own_error=OwnError(40, 0.0021, 0.034, 0.0012, 3.94))
GIVEN = Manifest("room", "room", {}, True, False, scale_source="reference poses", uncertainty=KNOWN)


def test_it_says_how_good_points_and_poses_are_and_how_that_was_measured():
    words = own_error_in_words(GIVEN)
    assert "points are good to 1.2 mm at 3.9 m, poses near its images to 2.1 mm and 0.034°" in words
    assert "40 images, each left out" in words
    assert "share" not in words


def test_poses_that_were_estimated_hide_what_they_share():
    assert "errors that all images share do not show" in own_error_in_words(replace(GIVEN, scale_source="wheels"))


@pytest.mark.parametrize("uncertainty", [None, replace(KNOWN, own_error=None)])
def test_what_nobody_measured_is_not_stated(uncertainty):
    assert own_error_in_words(replace(GIVEN, uncertainty=uncertainty)) == UNKNOWN


@pytest.mark.parametrize(
    ("length", "metric", "words"),
    [(0.00123, True, "1.2 mm"), (0.0217, True, "2.2 cm"), (3.94, True, "3.9 m"), (3.94, False, "3.9 map units")],
)
def test_lengths_are_in_the_unit_of_their_size(length, metric, words):
    assert length_in_words(length, metric) == words
