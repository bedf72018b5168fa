"""A map seen from above: where it stands full, and what is left unknown."""

from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.map import open_map
from visloc_ros.mapping.top_view import RESOLUTION_M, UNKNOWN, plan_view

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"


def test_a_wall_is_full_and_where_nothing_was_seen_is_unknown():
    rng = np.random.default_rng(0)
    wall = np.column_stack([rng.uniform(0.0, 4.0, 5000), np.zeros(5000), rng.uniform(0.0, 2.0, 5000)])
    floor = np.column_stack([rng.uniform(0.0, 4.0, 500), rng.uniform(0.0, 3.0, 500), np.zeros(500)])
    view = plan_view(np.concatenate([wall, floor]), metric=True)
    assert view.resolution == pytest.approx(RESOLUTION_M)
    row = int((0.0 - view.low[1]) / view.resolution)
    assert np.mean(view.cells[row] > 50) > 0.9
    assert set(np.unique(view.cells[row + 2 :])) == {UNKNOWN}, "the floor is not in the way"


def test_points_far_outside_do_not_make_it_large():
    points = open_map(DEMO_MAP).points
    view = plan_view(np.concatenate([points, [[900.0, -900.0, 1.0]]]), metric=True)
    assert max(view.cells.shape) < 200


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_without_metres_the_extent_gives_the_resolution(scale):
    view = plan_view(scale * open_map(DEMO_MAP).points, metric=False)
    assert max(view.cells.shape) == pytest.approx(400, abs=2)


def test_nothing_is_made_of_nothing_and_one_point_is_shown():
    assert plan_view(np.empty((0, 3)), metric=True) is None
    assert plan_view(np.ones((1, 3)), metric=True).cells.size > 0
