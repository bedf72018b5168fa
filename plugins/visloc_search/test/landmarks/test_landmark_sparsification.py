"""Which views stand for landmarks, and what stays of a map around them."""

import numpy as np
import pytest
from landmark_places import WIDE, hall

from visloc_ros.core.camera import project
from visloc_ros.core.errors import MapError
from visloc_search.landmarks.virtual_frames import choose_virtual_frames, sparsify
from visloc_search.reduced_map.frames import Covisibility, see

RADIUS = 0.0234


@pytest.fixture(scope="module", params=["wide", "upright and distorted"])
def views(request, hall_map, upright_map):
    map_ = hall_map if request.param == "wide" else upright_map
    return [see(image.map_from_camera, image.camera, map_.points, image.point_rows) for image in map_.images]


@pytest.fixture(scope="module")
def points():
    return hall().points  # those of both maps


@pytest.mark.parametrize("radius", [0.0, RADIUS, 0.1, 1.0])
@pytest.mark.parametrize("virtual", [[0], [3, 17], [0, 1, 2, 30]])
def test_virtual_frames_keep_all_that_they_show(views, points, radius, virtual):
    kept = sparsify(views, points, virtual, radius)
    for row in virtual:
        assert row in kept.views
        assert np.isin(views[row].point_rows, kept.points).all()


def test_without_a_radius_the_frames_that_are_kept_keep_all_points(views, points):
    virtual = [3, 17]
    kept = sparsify(views, points, virtual, 0.0)
    covisibility = Covisibility([view.point_rows for view in views], len(points))
    expected = {*virtual, *(row for one in virtual for row in covisibility.rank(one, 30))}
    assert set(kept.views) == expected
    seen = np.concatenate([views[row].point_rows for row in expected])
    assert np.array_equal(kept.points, np.unique(seen))


def test_thinning_around_one_landmark_takes_nothing_from_the_frames_of_others(views, points):
    for virtual in ([3, 17, 30], [30, 17, 3]):
        kept = sparsify(views, points, virtual, 0.2)
        for row in virtual:
            alone = sparsify(views, points, [row], 0.2)
            assert np.isin(views[row].point_rows, kept.points).all()
            assert np.isin(views[row].point_rows, alone.points).all()


def test_a_larger_radius_leaves_fewer_points(views, points):
    counts = [len(sparsify(views, points, [3, 17], radius).points) for radius in (0.0, RADIUS, 0.1, 1.0)]
    assert sorted(counts, reverse=True) == counts
    assert counts[-1] < counts[0]


def test_what_is_added_is_near_nothing_that_the_virtual_frame_shows(views, points):
    kept = sparsify(views, points, [3], RADIUS)
    frame = views[3]
    added = np.setdiff1d(kept.points, frame.point_rows)
    assert len(added) > 50
    pixels = project(frame.camera, frame.map_from_camera.inverse @ points[added])
    size = [frame.camera.width, frame.camera.height]
    inside = pixels[((pixels >= 0) & (pixels < size)).all(axis=1)]
    distances = np.linalg.norm(inside[:, None] - frame.pixels, axis=2)
    assert distances.min(initial=np.inf) >= RADIUS * max(size)


def test_a_view_that_adds_nothing_goes(points):
    pose = hall().images[0].map_from_camera
    twins = [see(pose, WIDE, points, np.arange(len(points), dtype=np.int32)) for _ in range(2)]
    kept = sparsify(twins, points, [1], RADIUS)
    assert kept.views == [1]


def test_views_that_share_most_points_come_first():
    rows = [np.array(one, np.int32) for one in ([0, 1, 2, 3], [3, 4], [0, 1, 9], [8], [2, 3])]
    covisibility = Covisibility(rows, 10)
    assert covisibility.rank(0, 10) == [2, 4, 1]
    assert covisibility.rank(0, 2) == [2, 4]
    assert covisibility.rank(3, 10) == []


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
