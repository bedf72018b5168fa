"""Where a photo can be localized, by walls whose points are known exactly."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3
from visloc_ros.localization.coverage import (
    HEADINGS_DEG,
    Cells,
    RecallModel,
    measure_coverage,
    recall_colour,
    view_rotation,
)
from visloc_ros.localization.seen_points import SeenPoints, Support, ViewLimits, surface_normals

MODEL = RecallModel(constant=-18.0, per_log_points=3.5, per_spread=6.0)
LIMITS = ViewLimits((-0.7, -0.5, 0.7, 0.5), 500.0)
TOWARDS, AWAY = HEADINGS_DEG.index(180), HEADINGS_DEG.index(0)
NORTH, SOUTH = 0.0, 180.0


def wall(y=0.0, count=40):
    """Points of a wall along x that stands at a y."""
    x, z = np.meshgrid(np.linspace(-3.0, 3.0, count), np.linspace(0.0, 2.0, count // 2))
    return np.column_stack([x.ravel(), np.full(x.size, y), z.ravel()])


def camera(x, y, heading):
    return SE3(view_rotation(heading), np.array([x, y, 1.0]))


def seen_by(points, *poses):
    """Each camera sees all points."""
    return SeenPoints.of_images(
        points, poses, [500.0] * len(poses), [np.arange(len(points), dtype=np.int32)] * len(poses)
    )


def recalls_at(seen, x, y):
    """The recall at a place, by heading."""
    cells = Cells(np.zeros((1, 3)), np.array([x - 0.5, y - 0.5]), 1.0, np.array([[1.0]]))
    return measure_coverage(seen, cells, LIMITS, MODEL).recalls[0, 0]


@pytest.fixture(scope="module")
def front():
    """A wall seen from the north by three cameras."""
    return seen_by(wall(), *(camera(x, 3.0, SOUTH) for x in (-1.0, 0.0, 1.0)))


def test_in_front_of_a_wall_a_photo_of_it_is_localized_and_none_of_the_other_side(front):
    recalls = recalls_at(front, 0.0, 3.0)
    assert recalls[TOWARDS] > 0.99
    assert recalls[AWAY] == 0.0


@pytest.mark.parametrize("x", [-4.0, 0.0, 2.5])
def test_behind_a_wall_nothing_is_localized(front, x):
    assert np.all(recalls_at(front, x, -2.0) == 0.0)


def test_what_a_wall_hides_is_not_seen():
    near, far = wall(y=0.0), wall(y=-3.0)
    rows = [np.arange(len(near), dtype=np.int32), np.arange(len(near), 2 * len(near), dtype=np.int32)]
    poses = [camera(0.0, -2.0, NORTH), camera(0.0, -0.5, SOUTH)]
    both = SeenPoints.of_images(np.concatenate([near, far]), poses, [500.0] * 2, rows)
    assert recalls_at(seen_by(far, poses[1]), 0.0, 2.0)[TOWARDS] > 0.5
    assert recalls_at(both, 0.0, 2.0)[TOWARDS] == 0.0
    assert recalls_at(both, 0.0, -0.5)[TOWARDS] > 0.9


def test_more_views_give_more():
    one = seen_by(wall(), camera(-3.0, 3.0, SOUTH))
    more = seen_by(wall(), *(camera(x, 3.0, SOUTH) for x in (-3.0, 0.0, 3.0)))
    places = [(x, 2.0) for x in (-3.0, 0.0, 3.0)]
    assert all(np.all(recalls_at(more, *at) >= recalls_at(one, *at)) for at in places)
    assert recalls_at(more, 4.0, 2.0).mean() > recalls_at(one, 4.0, 2.0).mean() + 0.05


def test_a_point_is_not_recognised_from_far_too_near_or_far_aside(front):
    supports = [
        front.around(np.array([x, y, 1.0]), 500.0).support(view_rotation(SOUTH), LIMITS).points
        for x, y in ((0.0, 3.0), (0.0, 6.0), (0.0, 20.0), (0.0, 0.5))
    ]
    assert supports[0] > 100.0
    assert supports[1] > 100.0
    assert supports[2:] == [0.0, 0.0]
    aside = seen_by(wall(), camera(-20.0, 1.0, SOUTH)).around(np.array([0.0, 3.0, 1.0]), 500.0)
    assert aside.support(view_rotation(SOUTH), LIMITS) == Support(0.0, 0.0)


def test_a_camera_with_a_longer_lens_recognises_from_farther(front):
    far = np.array([0.0, 20.0, 1.0])
    assert front.around(far, 2000.0).support(view_rotation(SOUTH), LIMITS).points > 100.0


def test_many_points_are_counted_by_a_part():
    many, few = wall(count=200), wall(count=40)
    at = np.array([0.0, 3.0, 1.0])
    counts = [
        seen_by(points, camera(0.0, 3.0, SOUTH)).around(at, 500.0).support(view_rotation(SOUTH), LIMITS)
        for points in (many, few)
    ]
    assert counts[0].points == pytest.approx(25.0 * counts[1].points, rel=0.1)
    assert counts[0].spread == counts[1].spread


def test_views_of_one_place_count_once_and_those_of_several_add_up():
    pose, at = camera(0.0, 3.0, SOUTH), np.array([0.0, 3.0, 1.0])
    twice = seen_by(wall(), pose, pose)

    def points(groups):
        return replace(twice, groups=groups).around(at, 500.0).support(view_rotation(SOUTH), LIMITS).points

    assert points(None) == points(np.array([0, 0])) > 0.0
    assert points(np.array([0, 1])) == pytest.approx(2.0 * points(None))


def test_normals_are_those_of_the_wall_on_the_side_of_the_cameras():
    towards = np.tile([0.8, 0.6, 0.0], (800, 1))
    assert np.allclose(surface_normals(wall(), towards), [0.0, 1.0, 0.0], atol=1e-6)
    scattered = np.random.default_rng(0).uniform(-1.0, 1.0, (800, 3))
    assert np.mean(np.all(surface_normals(scattered, towards) == towards, axis=1)) > 0.9


def test_far_from_all_cameras_cells_are_empty_and_not_zero(front):
    cells = Cells.around(np.array([[0.0, 3.0, 1.0], [30.0, 3.0, 2.0]]), 2.0, 1.0)
    coverage = measure_coverage(front, cells, LIMITS, MODEL)
    assert (np.isfinite(coverage.means).sum(), len(coverage)) == (len(cells), len(cells))
    at = {(one.x, one.y): one for one in coverage.cells()}
    assert (4.5, 3.5) not in at
    assert at[30.5, 3.5].recall == 0.0
    assert at[0.5, 3.5].recall > 0.1
    assert set(cells.heights[np.isfinite(cells.heights)]) == {1.0, 2.0}
    assert coverage.recall == pytest.approx(np.mean([one.recall for one in at.values()]))


def test_cells_that_are_too_many_are_refused_or_made_larger():
    centres = np.array([[0.0, 0.0, 1.0], [1e6, 1e6, 1.0]])
    for side in (0.1, 1e-4):
        with pytest.raises(ConfigError, match="choose larger ones"):
            Cells.around(centres[:1], 10.0, side)
    assert 0 < len(Cells.for_picture(centres[:1], 10.0, 0.1)) <= 1500
    assert len(Cells.for_picture(centres, 10.0, 1.0)) <= 1500


def test_the_recall_grows_with_points_and_their_spread_and_is_zero_without():
    few, many, spread = (MODEL.recall(Support(*one)) for one in ((30.0, 0.4), (300.0, 0.4), (300.0, 0.8)))
    assert 0.0 < few < many < spread < 1.0
    assert MODEL.recall(Support(0.0, 0.0)) == 0.0
    assert recall_colour(0.0) == "#440154"
    assert recall_colour(1.0) == recall_colour(1.2) == "#fde725"


@pytest.mark.parametrize(("heading", "forward"), [(0.0, [0, 1, 0]), (90.0, [1, 0, 0]), (180.0, [0, -1, 0])])
def test_headings_are_clockwise_from_the_y_axis(heading, forward):
    rotation = view_rotation(heading)
    assert np.allclose(rotation[:, 2], forward, atol=1e-12)
    assert np.allclose(rotation[:, 1], [0, 0, -1])
    assert np.allclose(view_rotation(heading, 90.0)[:, 2], [0, 0, 1])


def test_the_view_of_a_camera_ends_at_its_borders():
    pinhole = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[400.0, 400.0, 300.0, 240.0])
    assert ViewLimits.of(pinhole).tangents == pytest.approx((-0.75, -0.6, 0.85, 0.6))
    wide = pycolmap.Camera(model="OPENCV_FISHEYE", width=640, height=480, params=[180, 180, 320, 240, 0, 0, 0, 0])
    assert np.all(np.isfinite(ViewLimits.of(wide).tangents))
