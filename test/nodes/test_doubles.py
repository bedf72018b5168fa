"""Two that do the same: other senders of transforms, a node of the same name; and topics that do not fit."""

from contextlib import contextmanager

import pytest

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fusion_probe import parameters, running, stamp_of
from node_harness import started
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from tf2_msgs.msg import TFMessage

from visloc_ros.core.geometry import SE3
from visloc_ros.nodes import camera_health, conversions, diagnostics, transforms
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import IMAGE, RELIABLE


@contextmanager
def elsewhere():
    """A node as in another process: within one, DDS does not let two types meet on a topic."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = Node("camera", namespace="visloc", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_another_sender_of_map_to_odom_is_named_until_it_stops(ros_domain, monkeypatch):
    monkeypatch.setattr(transforms, "FORGOTTEN_S", 1.0)
    with running(*parameters(tf_publish_rate=50.0)) as setup:
        setup.localize()
        assert setup.node._output.problem() == ""  # its own do not count, neither those of frames nor those between

        other = conversions.transform_to_msg(stamp_of(3), "map", "odom", SE3.identity())
        sending = setup.probe.create_timer(0.05, lambda: setup.probe.tf.publish(TFMessage(transforms=[other])))
        setup.wait_for(lambda: setup.node._output.problem(), "words about the other sender")
        level, words, _ = setup.node._report()
        assert level == "error"
        assert "map -> odom, too" in words
        assert "/visloc/probe" in words
        setup.probe.destroy_timer(sending)
        setup.wait_for(lambda: not setup.node._output.problem(), "end of it")


def test_what_others_send_of_their_own_is_none_of_this_nodes_business(ros_domain):
    with running(*parameters(publish_odom_to_base_tf=False)) as setup:
        setup.mount()
        for index in range(5):
            items = [
                conversions.transform_to_msg(stamp_of(index), "odom", "base_link", SE3.identity()),
                conversions.transform_to_msg(stamp_of(index), "base_link", "wheel", SE3.identity()),
            ]
            setup.probe.tf.publish(TFMessage(transforms=items))
            setup.settle()
        assert setup.node._output.problem() == ""


def test_a_second_node_of_the_same_name_is_an_error(ros_domain, monkeypatch):
    monkeypatch.setattr(diagnostics, "LISTED_S", 0.5)
    monkeypatch.setattr(diagnostics, "PERIOD_S", 0.1)
    reports: list[DiagnosticStatus] = []
    with started(FusionNode) as harness:
        harness.probe.create_subscription(
            DiagnosticArray, "/diagnostics", lambda array: reports.extend(array.status), RELIABLE
        )
        harness.wait_for(lambda: reports, "diagnostics")
        assert "Two nodes" not in reports[-1].message
        double = Node("fusion_node", namespace="visloc")
        harness.wait_for(lambda: "Two nodes have the name /visloc/fusion_node" in reports[-1].message, "the double")
        assert reports[-1].level == DiagnosticStatus.ERROR
        double.destroy_node()
        harness.wait_for(lambda: "Two nodes" not in reports[-1].message, "end of the double")


@pytest.mark.parametrize(
    ("arguments", "kind", "qos", "words"),
    [
        (("-p", "camera.qos:=reliable"), Image, IMAGE["sensor_data"], "set camera.qos to sensor_data"),
        ((), CompressedImage, RELIABLE, "it carries sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image"),
    ],
    ids=["reliability", "type"],
)
def test_a_publisher_that_does_not_fit_is_named_with_the_remedy(ros_domain, monkeypatch, arguments, kind, qos, words):
    monkeypatch.setattr(camera_health, "STALE_S", 0.2)
    with started(OdometryNode, *arguments) as harness, elsewhere() as camera:
        camera.create_publisher(kind, "image", qos)
        harness.wait_for(lambda: words in harness.node._report()[1], words)
        assert harness.node._report()[0] == "error"
