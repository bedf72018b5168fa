import numpy as np
import pycolmap
import pytest

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import Reason
from visloc_ros.localization import GateConfig, solve_pose
from visloc_ros.localization.gates import check_pose, relative_thickness, spread

CAMERA = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[525, 525, 320, 240])
MAP_FROM_CAMERA = SE3(rotation_matrix([0.3, -0.8, 0.2]), [1.0, -2.0, 0.5])


def seen(low, high, depth_range, count=120):
    """Map points at random pixels of a box, at depths of a range, and those pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform(low, high, (count, 2))
    rays = np.column_stack((CAMERA.cam_from_img(pixels), np.ones(count)))
    points = MAP_FROM_CAMERA @ (rays * rng.uniform(*depth_range, (count, 1)))
    return project(CAMERA, MAP_FROM_CAMERA.inverse @ points) + rng.normal(0.0, 0.3, pixels.shape), points


def fault_of(pixels, points):
    solution = solve_pose(pixels, points, CAMERA)
    assert solution.num_inliers > 100
    return check_pose(solution, pixels, points, CAMERA, GateConfig())


def test_points_all_over_the_image_at_all_depths_are_trusted():
    assert fault_of(*seen([5, 5], [635, 475], (2.0, 6.0))) is None


def test_a_picture_that_fills_part_of_the_image_is_not():
    """A poster may hang in another room, too: its pose would be perfect, and wrong."""
    assert fault_of(*seen([150, 100], [450, 350], (2.0, 2.0))) is Reason.PLANAR_POINTS


def test_a_picture_with_more_points_than_a_poster_has_is():
    assert fault_of(*seen([150, 100], [450, 350], (2.0, 2.0), count=200)) is None


def test_the_same_part_of_the_image_with_depth_is():
    assert fault_of(*seen([150, 100], [450, 350], (2.0, 4.0))) is None


def test_a_wall_that_fills_the_image_is():
    assert fault_of(*seen([5, 5], [635, 475], (2.0, 2.0))) is None


def test_points_in_one_spot_are_not_whatever_their_depth():
    assert fault_of(*seen([300, 200], [400, 280], (2.0, 6.0))) is Reason.FEW_INLIERS


@pytest.mark.parametrize("turn", [[0.0, 0.0, 0.0], [0.4, -0.7, 0.1]])
def test_flatness_is_the_thickness_over_the_distance(turn):
    rng = np.random.default_rng(1)
    board = np.column_stack((rng.uniform(-1, 1, (4000, 2)), rng.normal(0.0, 0.05, 4000)))
    points = board @ rotation_matrix(turn).T + [0.0, 0.0, 50.0]
    assert relative_thickness(points) == pytest.approx(0.05 / 50.0, rel=0.05)


def test_the_plane_of_three_points_says_nothing():
    assert relative_thickness(np.eye(3)) == np.inf


def test_spread_is_the_least_in_any_direction():
    rng = np.random.default_rng(2)
    line = rng.normal(size=(500, 1)) * [120.0, 160.0] + rng.normal(size=(500, 1)) * [-4.0, 3.0]
    centred = line + np.array([320.0, 240.0])
    assert spread(centred, CAMERA) == pytest.approx(5.0 / 800.0, rel=0.1)
