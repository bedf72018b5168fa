import numpy as np
import pycolmap
from landmark_worlds import AWAY, Twins

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.map import NO_POINT
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
