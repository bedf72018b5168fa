"""Where in a map images can be localized: in a simulated room whose walls are known."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.map import open_map
from visloc_ros.mapping.coverage import coverage_of_map, map_coverage, mapped_views
from visloc_ros.mapping.coverage_view import draw_coverage
from visloc_ros.simulation.living_room import LENGTH, WIDTH

DEMO_MAP = Path(__file__).resolve().parents[2] / "maps" / "demo_room.tar.gz"


@pytest.fixture(scope="module")
def room():
    return open_map(DEMO_MAP)


@pytest.fixture(scope="module")
def coverage(room):
    return coverage_of_map(room)


def test_cells_fill_the_room_and_none_is_outside(coverage):
    places = np.array([(cell.x, cell.y) for cell in coverage.cells()])
    assert np.all((places > 0.0) & (places < [LENGTH, WIDTH]))
    assert len(coverage) * coverage.cell**2 > 0.8 * LENGTH * WIDTH


def test_between_the_images_photos_are_found_and_near_the_walls_only_those_across_the_room(coverage):
    at = {(cell.x, cell.y): cell for cell in coverage.cells()}
    assert at[2.75, 2.25].recall > 0.95
    corner = at[0.75, 0.75]
    by_heading = dict(zip(range(0, 360, 30), corner.by_heading, strict=True))
    assert by_heading[60] > 0.9
    assert by_heading[240] < 0.1
    assert corner.worst[0] < 0.1


def test_fewer_images_localize_less(room, coverage):
    few = map_coverage(room.points, mapped_views(room)[:6], gravity_aligned=True)
    assert few.recall < coverage.recall - 0.1


def test_a_map_that_is_not_level_is_seen_from_above_all_the_same(room, coverage):
    turned = SE3(rotation_matrix([0.5, -0.3, 0.2]), np.array([5.0, 1.0, 2.0]))
    views = [view._replace(map_from_camera=turned @ view.map_from_camera) for view in mapped_views(room)]
    tilted = map_coverage(turned @ room.points, views, gravity_aligned=False)
    assert tilted.recall == pytest.approx(coverage.recall, abs=0.05)
    assert len(tilted) == pytest.approx(len(coverage), rel=0.25)


def test_a_map_without_scale_has_the_same_cells(room, coverage):
    views = [
        view._replace(map_from_camera=replace(view.map_from_camera, translation=0.1 * view.map_from_camera.translation))
        for view in mapped_views(room)
    ]
    small = map_coverage(0.1 * room.points, views, gravity_aligned=True)
    assert small.cell == pytest.approx(0.1 * coverage.cell)
    assert small.recall == pytest.approx(coverage.recall, abs=0.02)


def test_a_map_whose_images_see_nothing_is_an_error(room):
    views = [view._replace(point_rows=view.point_rows[:0]) for view in mapped_views(room)]
    with pytest.raises(MapError, match="no image of the map sees a point"):
        map_coverage(room.points, views, gravity_aligned=True)


def test_the_drawing_has_each_cell_with_its_number_and_each_image(room, coverage):
    drawing = draw_coverage(coverage, "m")
    cells = list(coverage.cells())
    assert drawing.count("<rect") == drawing.count("<polygon") == len(cells)
    assert drawing.count('class="taken"') == len(room.images)
    numbers = [int(number) for number in re.findall(r'fill="#\w+">(\d+)</text>', drawing)]
    assert numbers == [round(100.0 * cell.recall) for cell in cells]
    assert "m: 100% at any heading" in drawing
