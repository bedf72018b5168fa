"""Positions along a road, held against the directions in which its views see each other."""

import numpy as np
import pytest

from visloc_geo.alike_views import AlikeView
from visloc_geo.orientation import rotation_of
from visloc_geo.solving.types import Tag
from visloc_geo.travel_directions import contradicted_positions
from visloc_ros.core.geometry import SE3

COUNT, STEP_M = 80, 8.0
NAMES = [f"view{row:02d}" for row in range(COUNT)]
AHEAD = SE3(np.eye(3), np.array([0.0, 0.0, 1.0]))


def tags_at(rows, heading_deg=0.0):
    """Tags of views that look north, each 8 m after the one before, with positions of some rows, good to 5 m."""
    errors = np.random.default_rng(0).normal(scale=3.0, size=(COUNT, 3))
    places = [np.array([0.0, STEP_M * row, 0.0]) + errors[row] for row in rows]
    return {
        name: Tag(place, rotation_of(heading_deg), 5.0, 7.5, 12.0) for name, place in zip(NAMES, places, strict=True)
    }


def seen_ahead():
    """Each view shows the next three."""
    return {
        NAMES[row]: {NAMES[other]: AlikeView(0.3, AHEAD) for other in range(row + 1, min(row + 4, COUNT))}
        for row in range(COUNT)
    }


@pytest.mark.parametrize("heading_deg", [0.0, 50.0, 100.0])
def test_right_positions_are_not_contradicted_whatever_compasses_show(heading_deg):
    assert contradicted_positions(tags_at(range(COUNT), heading_deg), seen_ahead()) == []


def test_positions_of_others_and_of_the_way_back_are_contradicted():
    order = np.random.default_rng(1).permutation(COUNT)
    assert set(contradicted_positions(tags_at(order), seen_ahead())) == set(NAMES)
    assert set(contradicted_positions(tags_at(range(COUNT)[::-1]), seen_ahead())) == set(NAMES)


def test_of_a_town_one_street_alone_is_contradicted():
    rows = [*range(COUNT // 2), *range(COUNT // 2, COUNT)[::-1]]
    found = set(contradicted_positions(tags_at(rows), seen_ahead()))
    assert found > set(NAMES[COUNT // 2 + 12 :])
    assert not found & set(NAMES[: COUNT // 2 - 24])
