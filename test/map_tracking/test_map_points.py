import numpy as np
import pytest
from followed_room import POINT_NOISE_M

from visloc_ros.core.geometry import SE3
from visloc_ros.map_tracking.map_points import MapPoints


@pytest.fixture(scope="module")
def points(room):
    return MapPoints(room.map)


def test_what_map_images_near_by_saw_is_visible(room, points):
    """All that a map image sees is visible from its own place."""
    pose = room.map.images[2].map_from_camera
    rows = points.seen_from(pose)
    truly, _ = room.visible(room.mapped, pose)
    assert len(np.intersect1d(rows, truly)) == len(truly)


def test_points_that_only_the_other_side_saw_are_hidden(room, points):
    pose = room.map.images[2].map_from_camera
    turned = SE3(pose.rotation @ np.diag([-1.0, 1.0, -1.0]), pose.translation)
    own, _ = room.visible(room.mapped, pose)
    assert len(np.intersect1d(points.seen_from(turned), own)) < 0.1 * len(own)


def test_points_are_known_again_by_their_coordinates_in_single_precision(room, points):
    given = room.map.points[[7, 3, 100]].astype(np.float32).astype(np.float64)
    rows, known = points.rows_of(np.vstack([given, given[:1] + 0.05]), np.zeros(3))
    assert known.tolist() == [True, True, True, False]
    assert rows[:3].tolist() == [7, 3, 100]


def test_no_points_are_no_rows(points):
    rows, known = points.rows_of(np.empty((0, 3)), np.zeros(3))
    assert len(rows) == len(known) == 0


def test_points_are_known_worst_along_the_line_of_sight(room, points):
    """A corner that one image saw is not known in depth; the more it was seen from aside, the better."""
    counts = np.bincount(np.concatenate([image.point_rows[:-1] for image in room.map.images]))
    once = int(np.flatnonzero(counts == 1)[0])
    often = int(np.argmax(counts))
    image = next(image for image in room.map.images if once in image.point_rows)
    line = room.map.points[once] - image.map_from_camera.translation
    values, axes = np.linalg.eigh(points.covariances_of(np.array([once]))[0])
    assert abs(axes[:, -1] @ line) / np.linalg.norm(line) > 0.99
    assert np.sqrt(values[-1]) == pytest.approx(0.5 * np.linalg.norm(line), rel=0.1)
    assert np.sqrt(np.linalg.eigvalsh(points.covariances_of(np.array([often])))[0, -1]) < 5 * POINT_NOISE_M
