from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import TwoPlanes, make_camera

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.images import ImagePreparation
from visloc_ros.odometry.klt.local_map import LocalMap
from visloc_ros.odometry.klt.reobservation import find_again, realign
from visloc_ros.odometry.klt.tracking import Features, detect_corners, measure
from visloc_ros.tracking.pixels import pixels_of

CONFIG = KltConfig()
NOW = SE3(rotation_matrix([0.03, -0.06, 0.15]), np.array([0.35, 0.1, 0.3]))  # world_from_camera


@pytest.fixture(scope="module")
def scene():
    return TwoPlanes(make_camera())


@pytest.fixture(scope="module")
def old_map(scene):
    """Two keyframes of a minute ago with exact landmarks on the wall, and their true points."""
    local_map = LocalMap(0, CONFIG)
    frame = scene.frame(0, SE3.identity())
    pixels = detect_corners(frame.grey, np.empty((0, 2), np.float32), CONFIG)
    features = measure(scene.camera, np.arange(len(pixels)), pixels)
    features = features[~on_board(features.rays)]
    points = np.column_stack([features.rays, np.ones(len(features))]) * 4.0
    for x in (0.0, 0.02):
        world_from_camera = SE3(np.eye(3), np.array([x, 0.0, 0.0]))
        seen = pixels_of(scene.camera, world_from_camera.inverse @ points)
        view = scene.frame(int(x * 1e9), world_from_camera)
        local_map.add_keyframe(
            view.stamp_ns, world_from_camera.inverse, measure(scene.camera, features.ids, seen), view.grey, scene.camera
        )
    local_map.landmarks.add(features.ids, points, 0)
    return local_map


def on_board(rays):
    """The board covers 1.75 x 1.25 m at 2 m; some way about it counts as well."""
    return (np.abs(rays[:, 0]) < 0.5) & (np.abs(rays[:, 1]) < 0.4)


def view_now(scene):
    return ImagePreparation(CONFIG).prepare(scene.frame(10**9, NOW))


def drifted(degrees, metres):
    return SE3(rotation_matrix([0, np.radians(degrees), 0]), np.array([metres, 0, 0])) @ NOW.inverse


def test_lost_landmarks_are_found_where_they_are_in_spite_of_drift(scene, old_map):
    found = find_again(old_map, view_now(scene), drifted(0.4, 0.01), Features.none(), CONFIG)
    rows, known = old_map.landmarks.rows_of(found.ids)
    assert known.all()
    assert len(found) > 20
    truth = pixels_of(scene.camera, NOW.inverse @ old_map.landmarks.points[rows])
    assert np.median(np.linalg.norm(found.pixels - truth, axis=1)) < 0.2


def test_followed_landmarks_are_not_found_twice(scene, old_map):
    every = find_again(old_map, view_now(scene), drifted(0.0, 0.0), Features.none(), CONFIG)
    half = every[np.arange(len(every)) % 2 == 0]
    rest = find_again(old_map, view_now(scene), drifted(0.0, 0.0), half, CONFIG)
    assert not np.isin(rest.ids, half.ids).any()


def test_nothing_is_found_in_another_place(old_map):
    other = view_now(TwoPlanes(make_camera(), seed=50))
    assert len(find_again(old_map, other, drifted(0.0, 0.0), Features.none(), CONFIG)) == 0


def test_nothing_is_found_when_looking_away(scene, old_map):
    away = SE3(rotation_matrix([0, np.pi, 0]), np.zeros(3))
    assert len(find_again(old_map, view_now(scene), away, Features.none(), CONFIG)) == 0


def slipped(scene, old_map, pixels):
    """The landmarks as followed features, each that many pixels to the right of where it is, and their true pixels."""
    truth = pixels_of(scene.camera, NOW.inverse @ old_map.landmarks.points)
    inside = np.all((truth > 30) & (truth < np.array([610, 450])), axis=1)
    return measure(scene.camera, old_map.landmarks.ids[inside], truth[inside] + np.float32([pixels, 0])), truth[inside]


def test_tracks_that_slipped_are_put_back_where_they_began(scene, old_map):
    followed, truth = slipped(scene, old_map, 0.8)
    assert len(followed) > 20
    placed = realign(old_map, view_now(scene), drifted(0.1, 0.0), followed, CONFIG)
    assert np.median(np.linalg.norm(placed.pixels - truth, axis=1)) < 0.2
    np.testing.assert_array_equal(placed.ids, followed.ids)


def test_a_track_that_went_astray_is_left_where_it_is(scene, old_map):
    followed, _ = slipped(scene, old_map, 3.0)
    placed = realign(old_map, view_now(scene), drifted(0.0, 0.0), followed, CONFIG)
    moves = np.linalg.norm(placed.pixels - followed.pixels, axis=1)
    assert moves.max() < 1.5
    assert np.median(moves) == 0.0


def with_twins(old_map, expected):
    """The same map with a second landmark at the place of each, which is newer and ``expected`` at its distance."""
    twins, table = LocalMap(0, CONFIG), old_map.landmarks
    for keyframe in old_map.keyframes:
        copies = replace(keyframe.features, ids=keyframe.features.ids + 10_000)
        features = keyframe.features.joined(copies)
        twins.add_keyframe(keyframe.stamp_ns, keyframe.camera_from_odom, features, keyframe.grey, keyframe.camera)
    twins.landmarks.add(table.ids, table.points, 0, expected)
    twins.landmarks.add(table.ids + 10_000, table.points, 1, expected)
    return twins


@pytest.mark.parametrize(("expected", "are_old"), [(np.nan, True), (4.0, False)])
def test_old_landmarks_are_looked_for_first_and_of_guessed_ones_the_newest(scene, old_map, expected, are_old):
    found = find_again(with_twins(old_map, expected), view_now(scene), NOW.inverse, Features.none(), CONFIG)
    assert len(found) > 20
    assert (found.ids < 10_000).all() == are_old
    assert (found.ids >= 10_000).all() != are_old
