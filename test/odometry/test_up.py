"""Up in the frame of the odometry, from exactly known motion and from a real flight."""

import numpy as np
import pytest
from carried_sensors import ODOM_FROM_MAP, CarriedImu, odometry_pose

from visloc_ros.core.geometry import SE3
from visloc_ros.core.gravity import UP_SIGMA_DEG, find_gravity
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import OdometryPose
from visloc_ros.odometry.up import UpEstimator
from visloc_ros.simulation.path import PATHS
from visloc_ros.sources import open_source
from visloc_ros.sources.measurements import measurements_of, read_body_from_sensor

WALK = PATHS["map"]
UP_IN_ODOM = ODOM_FROM_MAP.rotation[:, 2]


def ns(seconds):
    return round(seconds * NANOSECONDS)


def off_deg(up, true=UP_IN_ODOM):
    return np.degrees(np.arccos(np.clip(up @ true, -1.0, 1.0)))


def carried(until, gain=1.0):
    estimator = UpEstimator()
    for sample in CarriedImu(WALK).samples(until):
        estimator.samples.add(sample.stamp_ns, gain * sample.acceleration)
    return estimator


def seen(begin, end, rate_hz=20.0, segment=0, noise=0.004):
    rng = np.random.default_rng(2)
    times = np.arange(begin, end, 1.0 / rate_hz)
    return [odometry_pose(ns(t), WALK.pose(t), segment, noise=noise, rng=rng) for t in times]


def follow(estimator, begin, end, rate_hz=20.0, segment=0):
    """Up after each pose."""
    return [estimator.follow(pose) for pose in seen(begin, end, rate_hz, segment)]


@pytest.mark.parametrize("rate_hz", [10.0, 30.0, 60.0])
def test_a_walk_shows_up_within_seconds(rate_hz):
    ups = follow(carried(8.0), 0.0, 8.0, rate_hz)
    first = next(index for index, up in enumerate(ups) if up is not None)
    assert 1.5 <= first / rate_hz <= 3.0
    assert all(up is not None for up in ups[first:])
    assert max(off_deg(up) for up in ups[first:]) < 5.0
    assert off_deg(ups[-1]) < 1.0


def test_up_is_given_only_while_it_is_as_exact_as_the_fusion_takes_it_for():
    estimator, errors_deg = carried(12.0), []
    for pose in seen(0.0, 12.0, noise=0.2):
        if estimator.follow(pose) is not None:
            errors_deg.append(find_gravity(estimator._blocks).error_deg)
    assert errors_deg
    assert max(errors_deg) <= UP_SIGMA_DEG


def test_a_new_segment_has_an_up_of_its_own():
    estimator = carried(9.0)
    assert follow(estimator, 0.0, 5.0)[-1] is not None
    later = follow(estimator, 5.0, 9.0, segment=1)
    assert later[0] is None
    assert off_deg(later[-1]) < 2.0


def test_poses_with_a_gap_between_them_are_not_joined():
    estimator = carried(9.0)
    assert follow(estimator, 0.0, 1.2)[-1] is None
    assert follow(estimator, 4.0, 5.2)[-1] is None
    assert len(estimator._blocks) == 2


def test_accelerations_that_show_no_gravity_give_no_up_and_are_counted():
    estimator = carried(6.0, gain=1.0 / 9.81)
    assert follow(estimator, 0.0, 6.0)[-1] is None
    assert estimator.implausible > 0


def test_without_accelerations_nothing_is_kept():
    estimator = UpEstimator()
    assert set(follow(estimator, 0.0, 4.0)) == {None}
    assert estimator._path == []


def test_the_motion_of_a_real_flight(shared_data):
    """What an IMU with the flight's own biases must have shown, from its true velocities at 200 Hz."""
    root = shared_data / "euroc_mh05"
    rows = np.loadtxt(root / "state_groundtruth_imu.csv", delimiter=",")
    seconds = (rows[:, 0] - rows[0, 0]) / NANOSECONDS
    in_world = np.gradient(rows[:, 8:11], seconds, axis=0) + np.array([0.0, 0.0, 9.81])
    turns = [SE3.from_quaternion(row[4:8], np.zeros(3)).rotation for row in rows]
    in_body = np.array([turn.T @ force for turn, force in zip(turns, in_world, strict=True)]) + rows[:, 14:17]
    in_camera = in_body @ read_body_from_sensor(root / "cam0_sensor.yaml").rotation
    ups = play(open_source(root).ground_truth, rows[:, 0].astype(np.int64), in_camera)
    assert max(off_deg(up, np.array([0.0, 0.0, 1.0])) for up in ups) < 2.0
    assert off_deg(ups[-1], np.array([0.0, 0.0, 1.0])) < 0.7


def test_a_real_imu_at_rest(shared_data):
    source = open_source(shared_data / "euroc_v101_still")
    shown = measurements_of(source).accelerations
    ups = play(source.ground_truth, shown.stamps_ns, shown.in_camera)
    assert off_deg(ups[-1], np.array([0.0, 0.0, 1.0])) < 1.0


def play(truth: Trajectory, stamps_ns, in_camera):
    """Every up that is given, samples and frames in the order of time; the odometry's units are 0.2 m."""
    estimator, waiting, ups = UpEstimator(), 0, []
    for stamp_ns, pose in zip(truth.stamps_ns.tolist(), truth.poses, strict=True):
        while waiting < len(stamps_ns) and stamps_ns[waiting] <= stamp_ns:
            estimator.samples.add(int(stamps_ns[waiting]), in_camera[waiting])
            waiting += 1
        scaled = SE3(pose.rotation, pose.translation / 0.2)
        ups.append(estimator.follow(OdometryPose(stamp_ns, scaled, 0, 100)))
    return [up for up in ups if up is not None]
