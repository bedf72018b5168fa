"""What a gyroscope's turns are worth to the tracker: a camera that turns while it sees nothing."""

from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import TwoPlanes, make_camera

from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.types import OdometryPose
from visloc_ros.odometry.klt import KltConfig, KltOdometry
from visloc_ros.odometry.klt.motion import MotionModel

STEP_NS = 50_000_000
DARK = range(30, 40)


def pose(stamp_ns):
    """A walk to the right; between the frames 30 and 40 the camera turns by 25 degrees to the left."""
    index = stamp_ns / STEP_NS
    turned = np.radians(25.0) * np.clip((index - 29.0) / 11.0, 0.0, 1.0)
    return SE3(rotation_matrix([0.0, 0.02 * np.sin(index / 7.0) - turned, 0.0]), np.array([0.03 * index, 0.0, 0.0]))


def turns(begin_ns, end_ns):
    return pose(end_ns).rotation.T @ pose(begin_ns).rotation


@pytest.fixture(scope="module")
def frames():
    scene = TwoPlanes(make_camera(480, 360))
    frames = [scene.frame(index * STEP_NS, pose(index * STEP_NS)) for index in range(42)]
    return [
        replace(frame, image=np.zeros_like(frame.image)) if index in DARK else frame
        for index, frame in enumerate(frames)
    ]


def test_with_the_turn_known_the_first_frame_after_the_dark_has_its_pose(frames):
    odometry = KltOdometry(KltConfig(), turns=turns)
    results = [odometry.track(frame) for frame in frames]
    before, after = results[DARK[0] - 1], results[DARK[-1] + 1]
    assert isinstance(before, OdometryPose)
    assert isinstance(after, OdometryPose)
    assert after.segment == before.segment
    seen = before.odom_from_camera.inverse @ after.odom_from_camera
    true = pose(before.stamp_ns).inverse @ pose(after.stamp_ns)
    assert rotation_angle_deg(seen.rotation, true.rotation) < 0.3


def test_the_prediction_turns_as_measured_and_moves_on_as_before():
    model = MotionModel(0, pose(0).inverse, turns)
    model.update(STEP_NS, pose(STEP_NS).inverse)
    for index in (2, 35):
        assert model.predict(index * STEP_NS).is_close(pose(index * STEP_NS).inverse, 1e-9, 1e-6)


def test_without_turns_a_long_gap_predicts_nothing():
    model = MotionModel(0, pose(0).inverse)
    model.update(STEP_NS, pose(STEP_NS).inverse)
    assert model.predict(2 * STEP_NS).is_close(pose(2 * STEP_NS).inverse, 1e-3, 0.1)
    assert model.predict(9 * STEP_NS).is_close(pose(STEP_NS).inverse)
