"""Which views stand for a landmark."""

import numpy as np
import pytest

from visloc_ros.core.errors import MapError
from visloc_ros.localization.strategies.landmarks.virtual_frames import choose_virtual_frames


def rows(*parts):
    return np.concatenate([np.arange(first, last) for first, last in parts]).astype(np.int32)


def test_the_view_that_shows_most_of_a_landmark_is_matched():
    labels = np.repeat([0, 1, 2], [100, 200, 200])
    seen = [rows((0, 250)), rows((120, 290)), rows((300, 480)), rows((280, 300))]
    assert choose_virtual_frames(seen, labels) == [1, 2]


def test_a_view_with_few_points_is_used_only_where_no_other_shows_the_landmark():
    labels = np.repeat([1, 2], [100, 400])
    few, many = rows((0, 90)), rows((0, 50), (100, 300))
    assert choose_virtual_frames([few, many], labels)[0] == 1
    assert choose_virtual_frames([few, rows((100, 300))], labels)[0] == 0


def test_a_view_that_shows_next_to_nothing_of_a_landmark_does_not_stand_for_it():
    """However much of others it shows."""
    labels = np.repeat([1, 2], [100, 400])
    few, beside = rows((0, 90)), rows((80, 300))
    assert choose_virtual_frames([few, beside], labels)[0] == 0


def test_a_landmark_that_nothing_shows_is_refused_in_words():
    with pytest.raises(MapError, match="no image shows landmark 2"):
        choose_virtual_frames([rows((0, 10))], np.repeat([1, 2], 10))
