import numpy as np
import pycolmap
import pytest
from synthetic_map import INFO
from twin_places import AWAY, Twins

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.map import NO_POINT, LocalFeatures, Manifest, Map, MapImage
from visloc_ros.localization.view_change import ViewOverlap


def test_the_pose_of_a_map_image_overlaps_most_with_itself(world):
    overlap = ViewOverlap(world.map)
    for row, image in enumerate(world.map.images):
        seen = (image.point_rows != NO_POINT).sum()
        if seen == max((other.point_rows != NO_POINT).sum() for other in world.map.images):
            assert overlap.rank(image.map_from_camera, image.camera, 1) == [row]


def test_nothing_is_expected_where_the_map_is_not_in_view(world):
    overlap = ViewOverlap(world.map)
    away = SE3(np.eye(3), [0.0, 0.0, 1000.0])
    assert overlap.rank(away, world.camera, 5) == []


def test_references_that_look_the_other_way_are_not_expected(world):
    pose = world.map.images[0].map_from_camera
    rows = ViewOverlap(world.map).rank(pose, world.camera, len(world.map.images))
    axis = pose.rotation[:, 2]
    assert all(world.map.images[row].map_from_camera.rotation[:, 2] @ axis > 0.0 for row in rows)


def test_points_outside_the_image_do_not_count(world):
    pose = world.map.images[0].map_from_camera
    narrow = pycolmap.Camera(model="PINHOLE", width=8, height=8, params=[1e5, 1e5, 4, 4])
    turned = SE3(pose.rotation @ rotation_matrix([0.0, 0.9, 0.0]), pose.translation)
    assert ViewOverlap(world.map).rank(turned, narrow, 5) == []


def test_a_place_far_behind_what_is_seen_is_not_expected():
    """As through a wall: there a camera projects into the middle of the image whatever is behind."""
    twins = Twins()
    overlap = ViewOverlap(twins.map)
    seen_through = 0
    for image in twins.map.images:
        rows = overlap.rank(image.map_from_camera, image.camera, 20)
        assert rows
        here = image.map_from_camera.translation
        distances = [np.linalg.norm(twins.map.images[row].map_from_camera.translation - here) for row in rows]
        assert max(distances) < np.linalg.norm(AWAY) / 2
        in_camera = image.map_from_camera.inverse @ (twins.points + np.sign(AWAY[0] / 2 - here[0]) * AWAY)
        seen_through += bool((in_camera[:, 2] > 0).all())
    assert seen_through


def test_references_far_ahead_do_not_outrank_those_around(corridor):
    """All points that a camera far ahead sees are in view as well, but much smaller."""
    overlap = ViewOverlap(corridor)
    centres = np.array([image.map_from_camera.translation[2] for image in corridor.images])
    for here in np.arange(1.0, 40.0, 4.0):
        rows = overlap.rank(SE3(np.eye(3), [0.0, 0.0, here]), corridor.images[0].camera, 3)
        away = np.abs(centres[rows] - here)
        assert away[0] <= 2.0
        assert away.max() <= 8.0


@pytest.fixture(scope="module")
def corridor():
    """A map of a corridor 60 m long, driven through along z; a camera recognises points at 3 to 20 m."""
    rng = np.random.default_rng(0)
    camera = pycolmap.Camera(model="PINHOLE", width=1200, height=400, params=[700, 700, 600, 200])
    sides = rng.choice([-4.0, 4.0], 3000)
    points = np.column_stack((sides, rng.uniform(-1.0, 1.0, 3000), rng.uniform(0.0, 80.0, 3000)))
    images = tuple(_driven(camera, points, float(z)) for z in np.arange(0.0, 60.0, 4.0))
    nothing = np.empty((0, 0), np.float32)
    manifest = Manifest("corridor", "synthetic", {"extractor": INFO}, metric=True, gravity_aligned=False)
    return Map("corridor", manifest, images, points, nothing, nothing)


def _driven(camera, points, z):
    pose = SE3(np.eye(3), [0.0, 0.0, z])
    pixels, depths = project(camera, pose.inverse @ points), points[:, 2] - z
    inside = ((pixels > 0.0) & (pixels < [camera.width, camera.height])).all(axis=1)
    rows = np.flatnonzero(inside & (depths > 3.0) & (depths < 20.0)).astype(np.int32)
    ones = np.ones(len(rows), np.float32)
    features = LocalFeatures(
        pixels[rows].astype(np.float32), ones, np.ones((len(rows), 1), np.float32), (camera.width, camera.height)
    )
    return MapImage(f"{z:.0f}", pose, camera, features, rows)
