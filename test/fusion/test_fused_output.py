import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.fusion.config import SlewConfig
from visloc_ros.fusion.fused_output import SlewedOutput

CONFIG = SlewConfig(speed=0.3, turn_rate_deg=15.0, step_distance=0.5, step_angle_deg=20.0)
CAMERA = SE3(rotation_matrix([0.3, 0.2, 0.1]), np.array([20.0, -5.0, 1.0]))


def corrected_by(distance=0.0, degrees=0.0):
    turned = rotation_matrix([0, 0, np.deg2rad(degrees)]) @ CAMERA.rotation
    wanted = SE3(turned, CAMERA.translation + np.array([distance, 0, 0]))
    return SlewedOutput.begin(CAMERA).corrected(wanted), wanted


def camera(output):
    return output.map_from_odom @ output.odom_from_camera


def test_odom_begins_where_the_map_has_the_camera():
    output = SlewedOutput.begin(CAMERA)
    assert camera(output).is_close(CAMERA)
    assert output.map_from_odom.is_close(SE3.identity())


def test_a_correction_moves_the_camera_at_the_bounded_speed_and_arrives():
    output, wanted = corrected_by(distance=0.2)
    assert camera(output).is_close(CAMERA)
    moved = camera(output.slewed(0.1, CONFIG))
    assert np.linalg.norm(moved.translation - CAMERA.translation) == pytest.approx(0.03)
    for _ in range(7):
        output = output.slewed(0.1, CONFIG)
    assert camera(output).is_close(wanted)
    np.testing.assert_allclose(output.remaining, 0, atol=1e-12)


def test_a_rotation_turns_about_the_camera_not_about_a_far_origin():
    output, _ = corrected_by(degrees=10.0)
    moved = camera(output.slewed(0.2, CONFIG))
    assert rotation_angle_deg(moved.rotation, CAMERA.rotation) == pytest.approx(3.0)
    assert np.linalg.norm(moved.translation - CAMERA.translation) < 1e-9


@pytest.mark.parametrize("change", [{"distance": 0.6}, {"degrees": 25.0}])
def test_large_corrections_are_made_at_once(change):
    output, wanted = corrected_by(**change)
    assert camera(output.slewed(0.01, CONFIG)).is_close(wanted)


def test_raw_correction_is_kept_beside_the_slewed_one():
    output, wanted = corrected_by(distance=0.2)
    slewed = output.slewed(0.1, CONFIG)
    assert (slewed.raw_map_from_odom @ slewed.odom_from_camera).is_close(wanted)
    assert slewed.remaining[0] == pytest.approx(0.17)


def test_scale_applies_to_the_increment_alone():
    step = SE3(rotation_matrix([0, 0.1, 0]), np.array([0.0, 0.0, 1.0]))
    once = SlewedOutput.begin(CAMERA).advanced(step, 2.0)
    twice = once.advanced(step, 3.0)
    first = np.linalg.norm(once.odom_from_camera.translation - CAMERA.translation)
    second = np.linalg.norm(twice.odom_from_camera.translation - once.odom_from_camera.translation)
    assert (first, second) == (pytest.approx(2.0), pytest.approx(3.0))
