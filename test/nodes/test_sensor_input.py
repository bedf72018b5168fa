"""An IMU and wheel odometry over DDS: brought to the camera, or counted."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from nav_msgs.msg import Odometry
from node_harness import started
from rclpy.node import Node
from sensor_msgs.msg import Imu
from test_odometry_node import BEGIN_NS, RELIABLE_RAW, Camera, noise, raw_image
from tf2_msgs.msg import TFMessage

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.nodes import conversions
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import RELIABLE, TF_STATIC
from visloc_ros.odometry import AidedOdometry

BASE_FROM_CAMERA = SE3(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.4, 0.1, 0.6]))
BASE_FROM_IMU = SE3(rotation_matrix([0.0, 0.0, 0.5]), np.array([0.1, 0.0, 0.2]))


class Robot(Camera):
    """A camera, an IMU and wheels that publish to the node."""

    def __init__(self, harness):
        super().__init__(harness)
        probe: Node = harness.probe
        self.node = harness.node
        self._imu = probe.create_publisher(Imu, "imu", RELIABLE)
        self._wheels = probe.create_publisher(Odometry, "wheel_odom", RELIABLE)
        self._static = probe.create_publisher(TFMessage, "/tf_static", TF_STATIC)
        publishers = (self._imu, self._wheels, self._static)
        harness.wait_for(lambda: all(one.get_subscription_count() for one in publishers), "subscriptions")

    @property
    def rejected(self):
        return self.node._sensors.rejected

    @property
    def counts(self):
        return self.node._odometry.counts

    def show_image(self, stamp_ns=BEGIN_NS):
        self.send_info()
        self.send(raw_image(stamp_ns, noise()))
        self.wait_for_status(stamp_ns)

    def send_transforms(self):
        pairs = (("camera", BASE_FROM_CAMERA), ("imu", BASE_FROM_IMU))
        transforms = [conversions.transform_to_msg(0, "base_link", child, pose) for child, pose in pairs]
        self._static.publish(TFMessage(transforms=transforms))
        static = self.node._sensors._static
        self.harness.wait_for(lambda: static.lookup("base_link", "imu") is not None, "transforms")

    def send_imu(self, stamp_ns, rate, acceleration):
        message = Imu(header=conversions.header(stamp_ns, "imu"))
        for vector, values in ((message.angular_velocity, rate), (message.linear_acceleration, acceleration)):
            vector.x, vector.y, vector.z = values
        self._imu.publish(message)

    def send_wheels(self, stamp_ns, pose):
        message = Odometry(header=conversions.header(stamp_ns, "odom"), child_frame_id="base_link")
        message.pose.pose = conversions.pose_to_msg(pose)
        self._wheels.publish(message)

    def wait_for(self, counter, kind, count=1):
        self.harness.wait_for(lambda: counter().get(kind, 0) == count, f"{count} x '{kind}'")


def record_calls(monkeypatch, method):
    """The arguments of each call of a method of the odometry, which does its work as ever."""
    original, calls = getattr(AidedOdometry, method), []

    def recorded(odometry, *arguments):
        calls.append(arguments)
        original(odometry, *arguments)

    monkeypatch.setattr(AidedOdometry, method, recorded)
    return calls


def test_measurements_are_brought_to_the_camera_and_bad_ones_counted(ros_domain, monkeypatch):
    imu, wheels = record_calls(monkeypatch, "add_imu"), record_calls(monkeypatch, "add_wheels")
    with started(OdometryNode, *RELIABLE_RAW) as harness:
        robot = Robot(harness)
        robot.show_image()
        robot.send_transforms()
        robot.send_imu(BEGIN_NS, (0.1, 0.2, 0.3), (1.0, 2.0, 9.8))
        robot.send_imu(BEGIN_NS + 10, (0.0, 0.0, 0.0), (0.0, 0.0, 9.8))
        robot.send_imu(BEGIN_NS + 20, (np.nan, 0.0, 0.0), (0.0, 0.0, 9.8))
        robot.wait_for(lambda: robot.rejected, "bad imu")
        robot.send_imu(BEGIN_NS + 5, (0.1, 0.0, 0.0), (0.0, 0.0, 9.8))
        robot.wait_for(lambda: robot.counts, "imu out of order")
        assert (robot.counts["angular rates"], robot.counts["accelerations"]) == (2, 3)
        camera_from_imu = (BASE_FROM_CAMERA.inverse @ BASE_FROM_IMU).rotation
        ((sample,), *_) = imu
        assert sample.stamp_ns == BEGIN_NS
        assert np.allclose(sample.acceleration, camera_from_imu @ [1.0, 2.0, 9.8])
        assert np.allclose(sample.angular_rate, camera_from_imu @ [0.1, 0.2, 0.3])

        robot.send_wheels(BEGIN_NS, SE3.identity())
        robot.wait_for(lambda: robot.counts, "wheel poses")
        ((stamp_ns, odom_from_base, base_from_camera),) = wheels
        assert stamp_ns == BEGIN_NS
        assert odom_from_base.is_close(SE3.identity())
        assert base_from_camera.is_close(BASE_FROM_CAMERA)
        robot.send_wheels(BEGIN_NS + 10, SE3(np.eye(3), np.array([np.inf, 0.0, 0.0])))
        robot.wait_for(lambda: robot.rejected, "bad wheel_odom")


def test_without_transforms_nothing_is_made_up_and_the_diagnostics_say_so(ros_domain, monkeypatch):
    wheels = record_calls(monkeypatch, "add_wheels")
    with started(OdometryNode, *RELIABLE_RAW) as harness:
        robot = Robot(harness)
        robot.show_image()
        robot.send_imu(BEGIN_NS, (0.1, 0.2, 0.3), (1.0, 2.0, 9.8))
        robot.wait_for(lambda: robot.rejected, "imu without transform")
        robot.send_wheels(BEGIN_NS, SE3.identity())
        robot.wait_for(lambda: robot.rejected, "wheel_odom without transform")
        assert "angular rates" not in robot.counts
        ((_, _, base_from_camera),) = wheels
        assert base_from_camera is None
        _, _, values = robot.node._report()
        assert values["imu without transform"] == values["wheel_odom without transform"] == 1
