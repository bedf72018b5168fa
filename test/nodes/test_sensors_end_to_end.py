"""A robot drives through the simulated room: over DDS its odometry learns metres and up, and sends keyframes."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from nav_msgs.msg import Odometry
from node_harness import started
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from test_odometry_node import RELIABLE_RAW
from test_sensor_input import BASE_FROM_CAMERA, BASE_FROM_IMU, Robot

from visloc_ros.core.geometry import rotation_vector, umeyama
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Reason
from visloc_ros.nodes import conversions
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import PATHS
from visloc_ros.sources import ros_messages

SIMULATION = SimulationConfig(
    width=320, height=240, focal_px=240.0, rate_hz=15.0, duration_s=4.0, samples=1, light="none"
)
PATH = PATHS["map"]
UP = np.array([0.0, 0.0, 1.0])
SAMPLES_A_FRAME = 7


@pytest.fixture(scope="module")
def film():
    film = simulate(SIMULATION, "map")
    return film, list(film)


def map_from_imu(seconds):
    return PATH.pose(seconds) @ BASE_FROM_CAMERA.inverse @ BASE_FROM_IMU


def send_sensors(robot, film, index):
    """What IMU and wheels measured since the frame before, in the order of time."""
    step = 1.0 / SIMULATION.rate_hz / SAMPLES_A_FRAME
    for seconds in film.seconds(index) - step * np.arange(SAMPLES_A_FRAME)[::-1]:
        before, here, after = (map_from_imu(seconds + shift) for shift in (-1e-3, 0.0, 1e-3))
        rate = rotation_vector(before.rotation.T @ after.rotation) / 2e-3
        moved = (after.translation - 2 * here.translation + before.translation) / 1e-6
        stamp_ns = film.stamp_ns(0) + round(seconds * NANOSECONDS)
        robot.send_imu(stamp_ns, rate.tolist(), (here.rotation.T @ (moved + 9.81 * UP)).tolist())
    robot.send_wheels(film.stamp_ns(index), PATH.pose(film.seconds(index)) @ BASE_FROM_CAMERA.inverse)


def rgb_image(frame):
    height, width = frame.image.shape[:2]
    image = Image(header=conversions.header(frame.stamp_ns, "camera"), height=height, width=width, encoding="rgb8")
    image.step, image.data = 3 * width, frame.image.tobytes()
    return image


def drive_on_with_a_stuck_camera(robot, film, last):
    """Send the last scene with other noise, until two images have been left out; within half a second."""
    rng, reasons = np.random.default_rng(0), []
    for index in range(len(film), len(film) + 8):
        image = np.clip(last.image + rng.normal(0.0, 2.0, last.image.shape), 0, 255).astype(np.uint8)
        robot.send(rgb_image(replace(last, stamp_ns=film.stamp_ns(index), image=image)))
        reasons.append(robot.wait_for_status(film.stamp_ns(index)).reason)
        if reasons.count(Reason.FROZEN.value) == 2:
            return
        send_sensors(robot, film, index)
        robot.wait_for(lambda: robot.counts, "wheel poses", index + 1)
    raise AssertionError(reasons)


def test_a_drive_over_dds(film, ros_domain):
    film, frames = film
    poses: list[Odometry] = []
    keyframes: list[CompressedImage] = []
    with started(OdometryNode, *RELIABLE_RAW, "-p", "use_sim_time:=true") as harness:
        robot = Robot(harness)
        clock = harness.probe.create_publisher(Clock, "/clock", RELIABLE)
        harness.wait_for(clock.get_subscription_count, "subscription to the clock")
        harness.probe.create_subscription(Odometry, "visual_odom", poses.append, RELIABLE)
        harness.probe.create_subscription(CompressedImage, "keyframe/compressed", keyframes.append, RELIABLE)
        keyframe_publisher = harness.node._output.keyframes._publisher
        harness.wait_for(keyframe_publisher.get_subscription_count, "subscription to the keyframes")
        robot.send_transforms()
        robot.send_info(conversions.camera_to_msg(film.stamp_ns(0), "camera", film.camera))
        for index, frame in enumerate(frames):
            clock.publish(Clock(clock=conversions.stamp_to_msg(frame.stamp_ns)))
            robot.send(rgb_image(frame))
            status = robot.wait_for_status(frame.stamp_ns)
            send_sensors(robot, film, index)
            robot.wait_for(lambda: robot.counts, "wheel poses", index + 1)
        harness.wait_for(lambda: len(poses) == sum(one.tracked for one in robot.statuses), "all poses")
        harness.wait_for(lambda: len(keyframes) == harness.node._output.keyframes_sent, "all keyframes")
        level, message, _ = harness.node._report()
        driven, kept = list(poses), list(keyframes)
        drive_on_with_a_stuck_camera(robot, film, frames[-1])
        frozen_level, frozen_message, frozen_values = harness.node._report()
        failures = dict(harness.node.guard.failures)

    assert (frozen_level, frozen_values["frames frozen"]) == ("error", 2)
    assert not failures
    assert frozen_message.startswith("The images stand still while the ")
    assert status.tracked
    assert (level, message) == ("ok", "Tracking.")
    truth = {film.stamp_ns(index): film.pose(index) for index in range(len(film))}
    true = [truth[ros_messages.stamp_from_msg(one.header.stamp)].translation for one in driven]
    estimated = [ros_messages.pose_from_msg(one.pose.pose).translation for one in driven]
    map_from_odom = umeyama(true, estimated)
    assert status.metres_per_unit == pytest.approx(map_from_odom.scale, rel=0.05)
    assert 0.0 < status.scale_log_sigma < 0.05
    up = map_from_odom.rotation @ [status.up.x, status.up.y, status.up.z]
    assert np.degrees(np.arccos(up @ UP)) < 3.0

    sent = [ros_messages.stamp_from_msg(one.header.stamp) for one in kept]
    assert set(sent) <= set(truth)
    assert min(np.diff(sent)) >= 0.3 * NANOSECONDS
    assert max(np.diff(sent)) <= 1.5 * NANOSECONDS
    assert all(conversions.image_from_msg(one).shape == frames[0].image.shape for one in kept)
