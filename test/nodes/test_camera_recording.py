"""A robot is driven through a place while the map builder records its camera, and then a map is built from that."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from mapped_room import SIMULATION
from nav_msgs.msg import Odometry
from node_harness import COMPRESSED, jpeg_msg, started
from sensor_msgs.msg import CameraInfo, CompressedImage, Imu
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage

from testing.fusion_scenario import OPTICAL
from visloc_msgs.srv import BuildMap
from visloc_ros.core.errors import OutputError
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.map import open_map
from visloc_ros.nodes import camera_recording, conversions, map_builder_node
from visloc_ros.nodes.map_builder_node import MapBuilderNode
from visloc_ros.nodes.qos import REQUESTS, TF_STATIC
from visloc_ros.simulation import simulate
from visloc_ros.sources import open_source

BASE_FROM_CAMERA = SE3(OPTICAL, np.array([0.2, 0.0, 1.1]))
BASE_FROM_IMU = SE3(rotation_matrix([0.0, 0.0, 0.5]), np.array([0.1, 0.0, 0.2]))
DRIVE = replace(SIMULATION, duration_s=8.0, rate_hz=1.5)  # long enough for wheels to tell the scale
SENSED = replace(DRIVE, rate_hz=30.0)  # the IMU and the wheels
GRAVITY = 9.81
RECORD, BUILD = "map_builder_node/record", "map_builder_node/build_map"


class Robot:
    """Drives through the simulated room before a map builder that records."""

    def __init__(self, harness, is_calibrated=True):
        self.harness, self.is_calibrated = harness, is_calibrated
        self.room, self.sensed = simulate(DRIVE, "map"), simulate(SENSED, "map")
        probe = harness.probe
        kinds = {"image/compressed": CompressedImage, "camera_info": CameraInfo, "imu": Imu, "wheel_odom": Odometry}
        self.senders = {name: probe.create_publisher(kind, name, REQUESTS) for name, kind in kinds.items()}
        self.static = probe.create_publisher(TFMessage, "/tf_static", TF_STATIC)
        pairs = (("camera", BASE_FROM_CAMERA), ("imu", BASE_FROM_IMU))
        mounts = [conversions.transform_to_msg(0, "base_link", child, pose) for child, pose in pairs]
        self.static.publish(TFMessage(transforms=mounts))

    def record(self, begins):
        return self.harness.call(SetBool, RECORD, SetBool.Request(data=begins))

    def build(self, config_file=""):
        return self.harness.call(BuildMap, BUILD, BuildMap.Request(name="room", config_file=str(config_file)))

    def begin(self):
        answer = self.record(True)
        assert answer.success, answer.message
        publishers = (*self.senders.values(), self.static)
        self.harness.wait_for(lambda: all(one.get_subscription_count() for one in publishers), "subscriptions")
        return answer

    def drive(self, frames):
        """Images one by one, each followed by what the sensors tell until the next one."""
        many = round(SENSED.rate_hz / DRIVE.rate_hz)
        for index in frames:
            before = self.recorded.images
            self.show(index)
            self.harness.wait_for(lambda before=before: self.recorded.images > before, f"image {index} in the bag")
            for sensed in range(many * index, many * (index + 1)):
                self.sense(sensed)
            total = many * (index - frames[0] + 1)
            self.harness.wait_for(lambda total=total: self.counts == (total, total), f"{total} messages of each sensor")

    @property
    def counts(self):
        return self.recorded.imu_messages, self.recorded.wheel_messages

    @property
    def recorded(self):
        return self.harness.node._recording.recorded

    def show(self, index):
        frame = self.room.frame(index)
        if self.is_calibrated:
            camera_info = conversions.camera_to_msg(frame.stamp_ns, "camera", frame.camera)
            self.senders["camera_info"].publish(camera_info)
        self.senders["image/compressed"].publish(jpeg_msg(frame.image, frame.stamp_ns))

    def sense(self, index):
        stamp_ns, map_from_base = self.sensed.stamp_ns(index), self.sensed.pose(index) @ BASE_FROM_CAMERA.inverse
        imu = Imu(header=conversions.header(stamp_ns, "imu"))
        up = (map_from_base @ BASE_FROM_IMU).rotation.T @ [0.0, 0.0, GRAVITY]
        imu.linear_acceleration.x, imu.linear_acceleration.y, imu.linear_acceleration.z = up.tolist()
        imu.angular_velocity_covariance[0] = -1.0
        self.senders["imu"].publish(imu)
        wheels = Odometry(header=conversions.header(stamp_ns, "odom"), child_frame_id="base_link")
        wheels.pose.pose = conversions.pose_to_msg(map_from_base)
        self.senders["wheel_odom"].publish(wheels)


@pytest.fixture
def builder(tmp_path, ros_domain):
    with started(MapBuilderNode, "-p", f"maps_folder:={tmp_path}", *COMPRESSED) as harness:
        yield harness


def recordings(tmp_path):
    return sorted((tmp_path / "recordings").iterdir())


def test_a_drive_becomes_a_map_in_metres_with_its_z_axis_up(builder, tmp_path):
    robot = Robot(builder)
    assert "build_map" in robot.begin().message
    count = len(robot.room)
    robot.drive(range(count))
    neighbours_alone = tmp_path / "mapping.yaml"
    neighbours_alone.write_text("pairs: {window: 2, retrieval: 0}")
    answer = robot.build(neighbours_alone)
    assert answer.code == BuildMap.Response.SUCCESS, answer.message
    assert answer.registered_images == count

    built = open_map(tmp_path / "room")
    assert (built.manifest.metric, built.manifest.gravity_aligned) == (True, True)
    truth = np.array([robot.room.pose(index).translation for index in range(count)])
    centres = np.array([image.map_from_camera.translation for image in built.images])
    scale = np.linalg.norm(centres[-1] - centres[0]) / np.linalg.norm(truth[-1] - truth[0])
    assert scale == pytest.approx(1.0, abs=0.03)
    heights = truth[:, 2] - truth[0, 2]
    np.testing.assert_allclose(centres[:, 2] - centres[0, 2], heights, atol=0.05)


def test_a_recording_that_cannot_be_is_refused_in_words(builder, tmp_path):
    robot = Robot(builder)
    nothing = robot.record(False)
    assert (nothing.success, "begin to record" in nothing.message) == (False, True)
    assert robot.build().code == BuildMap.Response.INVALID_REQUEST
    robot.begin()
    twice = robot.record(True)
    assert (twice.success, "already" in twice.message) == (False, True)
    silent = robot.record(False)
    assert (silent.success, "nothing was recorded" in silent.message) == (False, True)
    assert recordings(tmp_path) == []
    assert not builder.node._recording
    assert builder.node.count_subscribers("image/compressed") == 0


def fail(_, plan):
    raise OutputError(f"no room for a map of {plan.source.name}")


def test_a_recording_outlives_a_build_that_fails(builder, tmp_path, monkeypatch):
    robot = Robot(builder, is_calibrated=False)
    robot.begin()
    robot.drive(range(3))
    ended = robot.record(False)
    (bag,) = recordings(tmp_path)
    assert (ended.success, "3 images" in ended.message, str(bag) in ended.message) == (True, True, True)
    monkeypatch.setattr(map_builder_node, "build", fail)
    for _ in range(2):
        answer = robot.build()
        assert (answer.code, bag.name in answer.message) == (BuildMap.Response.WRITE_FAILED, True), answer.message
    source = open_source(bag)
    assert [frame.stamp_ns for frame in source] == [robot.room.stamp_ns(index) for index in range(3)]
    assert not source.calibrated


def test_a_recording_outlives_the_node_and_a_full_disk(tmp_path, ros_domain, monkeypatch):
    with started(MapBuilderNode, "-p", f"maps_folder:={tmp_path}", *COMPRESSED) as harness:
        robot = Robot(harness)
        robot.begin()
        robot.drive(range(2))
        monkeypatch.setattr(camera_recording, "LEAST_FREE_BYTES", 1 << 60)
        robot.show(2)
        harness.wait_for(lambda: robot.recorded.problem, "word of the disk")
        assert "free some space" in str(robot.recorded)
        full = robot.record(True)
        assert (full.success, "already" in full.message) == (False, True)
    (bag,) = recordings(tmp_path)
    assert len(list(open_source(bag))) == 2
