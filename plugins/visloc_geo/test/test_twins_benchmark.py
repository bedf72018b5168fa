"""Which of two equal houses a photo is said to show."""

import numpy as np
import pytest

from plugins.visloc_geo.benchmarks.twin_street import APART_M, random_views
from plugins.visloc_geo.benchmarks.twins import as_markdown, place_of
from visloc_ros.core.geometry import SE3

TRUTH = SE3(np.eye(3), np.array([1.0, -20.0, 1.6]))


@pytest.mark.parametrize(
    ("moved", "place"),
    [
        ([0.3, 0.2, 5.0], "right"),
        ([0.3, APART_M + 0.2, 0.0], "twin"),
        ([0.3, -APART_M, 0.0], "twin"),
        ([0.0, 2.0, 0.0], "elsewhere"),
        ([APART_M, 0.0, 0.0], "elsewhere"),
    ],
)
def test_a_position_is_right_at_the_twin_or_elsewhere(moved, place):
    assert place_of(TRUTH.translation + moved, TRUTH, 1.0) == place


def test_photos_are_of_both_halves_in_turn():
    north = np.array([pose.translation[1] for pose in random_views(20, 1)])
    assert (north[::2] < 0.0).all()
    assert (north[1::2] > 0.0).all()


def test_the_table_counts_each_verdict():
    text = as_markdown({"verdicts": {"map": ["right", "right", "twin", "AMBIGUOUS_PLACE", "PLANAR_POINTS"]}})
    assert "| map | 5 | 2 | 1 | 0 | 1 | 1 |" in text
