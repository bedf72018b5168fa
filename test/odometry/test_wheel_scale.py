"""Metres per unit from wheels: lever arm, slip, standing still, new segments, wheels that are late or missing."""

import numpy as np
import pytest
from carried_sensors import SCALE, Wheels, odometry_pose

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.odometry.wheel_scale import WheelConfig, WheelPose, WheelScale

# A camera 0.4 m ahead of the axle, to the left and above; it looks ahead.
BASE_FROM_CAMERA = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.4, 0.1, 0.6]))
RATE_HZ = 20


def ns(seconds):
    return round(seconds * NANOSECONDS)


def drive(duration_s, speed=0.5, turning=0.6):
    """``map_from_base`` at 20 Hz: bends to the left and to the right, at 0.6 rad/s at most."""
    poses = [SE3.identity()]
    for index in range(round(duration_s * RATE_HZ)):
        yaw = turning * np.sin(2 * np.pi * index / RATE_HZ / 5.0) / RATE_HZ
        poses.append(poses[-1] @ SE3(rotation_matrix([0.0, 0.0, yaw]), np.array([speed / RATE_HZ, 0.0, 0.0])))
    return poses


def track(bases, wheels, base_from_camera=BASE_FROM_CAMERA, delay=0, segment=0, noise=0.002, scale=None):
    """Scales after each frame; the wheels' poses come ``delay`` frames late."""
    scale = scale or WheelScale(WheelConfig())
    rng = np.random.default_rng(3)
    found = []
    for index, base in enumerate(bases):
        if 0 <= index - delay < len(wheels):
            scale.wheels.add(ns((index - delay) / RATE_HZ), WheelPose(wheels[index - delay], base_from_camera))
        pose = odometry_pose(ns(index / RATE_HZ), base @ BASE_FROM_CAMERA, segment, noise, rng)
        found.append(scale.follow(pose))
    return found


def error(estimate):
    return abs(np.log(estimate.metres_per_unit / SCALE))


@pytest.mark.parametrize("seed", range(3))
def test_wheels_that_slip_by_2_percent_on_bends_give_the_scale(seed):
    bases = drive(20.0)
    found = track(bases, Wheels(bases, slip=0.02, seed=seed).odom_from_base)
    first = next(index for index, estimate in enumerate(found) if estimate is not None)
    assert first / RATE_HZ < 1.5
    assert error(found[-1]) < 0.01
    assert all(error(estimate) < 4.0 * estimate.log_sigma for estimate in found[first:])
    assert found[-1].log_sigma < 0.5 * found[first].log_sigma


def test_the_lever_arm_counts():
    """On bends a camera 0.4 m ahead of the axle goes another way than the axle does."""
    bases = drive(20.0, speed=0.15, turning=1.2)
    wheels = Wheels(bases).odom_from_base
    on_the_axle = SE3(BASE_FROM_CAMERA.rotation, np.zeros(3))
    right, wrong = WheelScale(WheelConfig()), WheelScale(WheelConfig())
    assert error(track(bases, wheels, scale=right)[-1]) < 0.01
    assert right.counts["contradicted"] == 0
    track(bases, wheels, on_the_axle, scale=wrong)
    assert wrong.counts["contradicted"] > 0.3 * wrong.counts["steps"]


def test_where_the_cameras_place_is_unknown_steps_that_turn_are_left_out():
    bases = drive(10.0, turning=0.0)
    assert error(track(bases, Wheels(bases).odom_from_base, base_from_camera=None)[-1]) < 0.01
    bends = drive(10.0, speed=0.1, turning=3.0)
    assert track(bends, Wheels(bends).odom_from_base, base_from_camera=None)[-1] is None


def test_wheels_that_spin_for_a_while_do_not_move_the_scale():
    bases = drive(20.0)
    wheels, slid = [], SE3.identity()
    for index, pose in enumerate(bases):
        if 8.0 <= index / RATE_HZ < 11.0:
            slid = slid @ SE3(np.eye(3), np.array([0.05, 0.0, 0.0]))  # 1 m/s faster than the robot
        wheels.append(slid @ pose)
    found = track(bases, wheels)
    assert max(error(estimate) for estimate in found[8 * RATE_HZ :]) < 0.05


def test_standing_still_leaves_the_scale_as_it_is():
    bases = drive(6.0)
    found = track([*bases, *[bases[-1]] * 200], [*Wheels(bases).odom_from_base, *[bases[-1]] * 200])
    assert all(estimate is found[len(bases)] for estimate in found[len(bases) :])


def test_a_new_segment_has_a_scale_of_its_own():
    bases = drive(6.0)
    wheels = Wheels(bases).odom_from_base
    scale = WheelScale(WheelConfig())
    assert track(bases[:60], wheels[:60], scale=scale)[-1] is not None
    later = odometry_pose(ns(60 / RATE_HZ), bases[60] @ BASE_FROM_CAMERA, segment=1)
    scale.wheels.add(ns(60 / RATE_HZ), WheelPose(wheels[60], BASE_FROM_CAMERA))
    assert scale.follow(later) is None


def test_wheels_that_come_late_give_the_scale_late():
    bases = drive(10.0)
    wheels = Wheels(bases).odom_from_base
    prompt, late = track(bases, wheels), track(bases, wheels, delay=5)
    assert error(late[-1]) < 0.01
    assert prompt.index(None) == late.index(None) == 0
    assert 0 <= late.count(None) - prompt.count(None) - 5 <= 5


def test_wheels_that_miss_the_frames_are_interpolated_but_not_over_gaps():
    bases = drive(10.0)
    wheels = Wheels(bases).odom_from_base
    scale, sparse = WheelScale(WheelConfig()), WheelScale(WheelConfig())
    for index, base in enumerate(bases):
        pose = odometry_pose(ns(index / RATE_HZ), base @ BASE_FROM_CAMERA)
        if index % 4 == 1:
            scale.wheels.add(ns(index / RATE_HZ), WheelPose(wheels[index], BASE_FROM_CAMERA))
        if index % 10 == 1:
            sparse.wheels.add(ns(index / RATE_HZ), WheelPose(wheels[index], BASE_FROM_CAMERA))
        known, unknown = scale.follow(pose), sparse.follow(pose)
    assert error(known) < 0.01
    assert unknown is None


def test_steps_against_the_cameras_direction_are_counted_and_left_out():
    bases = drive(6.0, turning=0.0)
    backwards = [pose.inverse for pose in bases]
    scale = WheelScale(WheelConfig())
    assert track(bases, backwards, scale=scale)[-1] is None
    assert scale.counts["contradicted"] == scale.counts["steps"] > 10
