"""The reported path is continuous, while adjustments move the camera in the local map."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.odometry.klt.motion import ContinuousPath

STEP_S = 0.05
CORRECTION = SE3(rotation_matrix([0.0, 0.02, 0.0]), np.array([0.05, 0.0, -0.1]))


def at(x):
    return SE3(np.eye(3), np.array([x, 0.0, 0.0]))


def test_without_corrections_the_path_is_that_of_the_map():
    path = ContinuousPath(at(0.0))
    for index in range(10):
        path.move(at(0.02 * index), at(0.02 * (index + 1)), STEP_S)
    assert path.odom_from_camera.is_close(at(0.2), 1e-12, 1e-6)


def test_a_correction_of_the_map_changes_no_step_by_more_than_a_fifth_and_arrives_in_the_end():
    path, steps = ContinuousPath(at(0.0)), []
    for index in range(400):
        before = path.odom_from_camera.translation
        path.move(CORRECTION @ at(0.02 * index), CORRECTION @ at(0.02 * (index + 1)), STEP_S)
        steps.append(np.linalg.norm(path.odom_from_camera.translation - before))
    assert max(steps) == pytest.approx(0.02, rel=0.21)
    assert min(steps) == pytest.approx(0.02, rel=0.21)
    assert path.odom_from_camera.is_close(CORRECTION @ at(8.0), 1e-3, 0.1)


def test_a_camera_that_stands_is_not_moved_by_a_correction():
    path = ContinuousPath(at(0.0))
    for _ in range(50):
        path.move(CORRECTION @ at(0.0), CORRECTION @ at(0.0), STEP_S)
    assert np.linalg.norm(path.odom_from_camera.translation) == 0.0
    assert rotation_angle_deg(path.odom_from_camera.rotation, np.eye(3)) == 0.0
