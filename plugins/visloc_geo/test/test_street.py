from itertools import pairwise

import cv2
import numpy as np
import pytest

from plugins.visloc_geo.testing.street import lots, make_street
from plugins.visloc_geo.testing.street_views import ORIGIN, Survey, TagErrors, photos, walk, write_database
from visloc_geo.orientation import angles_of, rotation_of
from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3
from visloc_ros.simulation.room import NO_QUAD

LENGTH_M = 30.0
EXACT = Survey(directions=2, size_px=128, length_m=LENGTH_M)


@pytest.fixture(scope="module")
def street():
    return make_street(3, LENGTH_M, copies=2)


@pytest.fixture(scope="module")
def database(street, tmp_path_factory):
    return write_database(street, tmp_path_factory.mktemp("street") / "views", EXACT)


def test_whoever_stands_in_the_street_sees_something_everywhere(street):
    rays = np.random.default_rng(0).normal(size=(2000, 3))
    assert (street.cast(np.array([1.0, 0.0, 1.6]), rays).quad_rows != NO_QUAD).all()


def test_the_second_half_is_the_first_one_again(street):
    half = len(lots(3, LENGTH_M, 2)) // 2
    for row in range(half):
        first, second = (street.quad(f"building {one} front") for one in (row, row + half))
        assert np.array_equal(first.texture, second.texture)
        assert second.corner - first.corner == pytest.approx([0.0, LENGTH_M / 2, 0.0])
    assert not np.array_equal(street.quad("building 0 front").texture, street.quad("building 1 front").texture)


@pytest.mark.parametrize("copies", [1, 2])
def test_buildings_leave_no_gap_between_them(copies):
    for side in (-1, 1):
        row = sorted((lot for lot in lots(3, LENGTH_M, copies) if lot.side == side), key=lambda lot: lot.begin)
        assert all(a.end == pytest.approx(b.begin) for a, b in pairwise(row))
        assert row[0].begin == -LENGTH_M / 2
        assert row[-1].end >= LENGTH_M / 2


def test_tags_without_errors_are_the_poses_the_views_were_rendered_from(street, database):
    view = next(iter(database))
    pose = view.enu_from_camera(ORIGIN)
    corner = street.quad("building 0 front").corner
    assert angles_of(pose.rotation)[0] == pytest.approx(0.0)
    assert (pose.inverse @ corner)[2] == pytest.approx(corner[1] - pose.translation[1])
    assert pose.translation[2] == pytest.approx(2.5, abs=1e-6)


def test_one_error_is_that_of_all_views_of_a_panorama(street, tmp_path):
    survey = Survey(directions=4, size_px=64, length_m=LENGTH_M, errors=TagErrors(3.0, 2.0, 1.0))
    views = list(write_database(street, tmp_path / "wrong", survey, seed=5))
    first = [view for view in views if view.panorama == "street000"]
    assert len({(view.position.latitude, view.position.longitude) for view in first}) == 1
    turns = [view.orientation.heading_deg - float(view.name.split("_")[1]) for view in first]
    assert np.ptp([(turn + 180) % 360 for turn in turns]) == pytest.approx(0.0, abs=1e-9)
    assert first[0].position.sigma == 3.0


def test_a_photo_shows_a_front_where_its_pose_says(street):
    front = street.quad("building 0 front")
    middle = front.point(0.5, 0.8)
    pose = SE3(rotation_of(270.0), middle + 14.0 * front.normal)
    frame = next(photos(street, [pose]))
    corners = project(frame.camera, pose.inverse @ front.point([0, 1, 1, 0], [0, 0, 1, 1])).astype(np.float32)
    size = np.array([[0, 0], [200, 0], [200, 200], [0, 200]], np.float32)
    seen = cv2.warpPerspective(frame.image, cv2.getPerspectiveTransform(corners, size), (200, 200))[120:]
    painted = cv2.resize(front.texture, (200, 200), interpolation=cv2.INTER_AREA)[120:]
    assert np.corrcoef(seen.ravel(), painted.ravel())[0, 1] > 0.7


def test_a_walk_goes_forward_in_equal_steps():
    poses = walk(10, 0.7, LENGTH_M)
    steps = np.diff([pose.translation for pose in poses], axis=0)
    assert np.linalg.norm(steps, axis=1) == pytest.approx(np.full(9, 0.7), abs=0.2)
    assert not np.allclose(poses[0].rotation, rotation_of(0.0))
