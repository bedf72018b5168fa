"""Loops that odometry closes: as messages, out of the odometry node and into the fusion node."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from fusion_probe import odom_from_camera, running, stamp_of
from node_harness import started
from test_odometry_node import BEGIN_NS, RELIABLE_RAW, Camera, noise, raw_image

from visloc_msgs.msg import LoopClosure as LoopClosureMsg
from visloc_ros.core.geometry import Sim3, rotation_matrix
from visloc_ros.core.types import LoopClosure
from visloc_ros.nodes.conversions import loop_closure_to_msg
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.sources.ros_messages import MessageError, loop_closure_from_msg

LOOP = LoopClosure(
    BEGIN_NS - 90_000_000_123,
    BEGIN_NS - 5,
    Sim3(1.25, rotation_matrix([0.3, -0.2, 2.9]), np.array([1.0, -2.0, 3.0])),
    np.diag(np.arange(1.0, 8.0)) + 0.1,
)


def assert_same(loop, expected):
    assert (loop.earlier_ns, loop.later_ns) == (expected.earlier_ns, expected.later_ns)
    found, similarity = loop.earlier_from_later, expected.earlier_from_later
    assert found.scale == similarity.scale
    np.testing.assert_allclose(found.rotation, similarity.rotation, atol=1e-12)
    np.testing.assert_array_equal(found.translation, similarity.translation)
    np.testing.assert_array_equal(loop.covariance, expected.covariance)


def spoil(**values):
    message = loop_closure_to_msg(LOOP, "camera")
    for name, value in values.items():
        setattr(message, name, value)
    return message


def test_a_loop_round_trips():
    message = loop_closure_to_msg(LOOP, "camera")
    assert message.header.frame_id == "camera"
    assert_same(loop_closure_from_msg(message), LOOP)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (spoil(scale=0.0), "no scale"),
        (spoil(scale=float("nan")), "no scale"),
        (spoil(scale=float("inf")), "no scale"),
        (spoil(covariance=np.full(49, np.nan)), "covariance"),
        (spoil(covariance=-np.ones(49)), "covariance"),
        (spoil(earlier_stamp=loop_closure_to_msg(LOOP, "camera").header.stamp), "not before"),
        (LoopClosureMsg(), "not before"),
    ],
)
def test_an_impossible_loop_is_refused(message, said):
    with pytest.raises(MessageError, match=said):
        loop_closure_from_msg(message)


def test_a_loop_at_an_impossible_pose_is_refused():
    message = loop_closure_to_msg(LOOP, "camera")
    message.earlier_from_later.orientation.w += 0.5
    with pytest.raises(MessageError, match="norm"):
        loop_closure_from_msg(message)


def test_the_odometry_node_shows_each_loop_once(ros_domain):
    with started(OdometryNode, *RELIABLE_RAW) as harness:
        loops, closed = [], [[LOOP]]
        harness.probe.create_subscription(LoopClosureMsg, "loop_closure", loops.append, RELIABLE)
        harness.wait_for(lambda: harness.probe.count_publishers("loop_closure"), "publisher")
        harness.wait_for(harness.node._output._loop_publisher.get_subscription_count, "subscription")
        harness.node._odometry.take_loops = lambda: closed.pop() if closed else ()
        camera = Camera(harness)
        camera.send_info()
        for index in range(3):
            camera.send(raw_image(BEGIN_NS + index, noise()))
            camera.wait_for_status(BEGIN_NS + index)
        harness.wait_for(lambda: loops, "loop")
        (message,) = loops
        assert_same(loop_closure_from_msg(message), LOOP)
        assert message.header.frame_id == "camera"


def test_a_loop_that_fits_the_odometry_is_joined_and_a_bad_one_counted(ros_domain):
    earlier, later = 5, 45
    earlier_from_later = Sim3.from_se3(odom_from_camera(earlier).inverse @ odom_from_camera(later))
    loop = LoopClosure(stamp_of(earlier), stamp_of(later), earlier_from_later, np.diag([1e-4] * 6 + [1e-3]))
    with running() as setup:
        setup.localize()
        publisher = setup.probe.create_publisher(LoopClosureMsg, "loop_closure", RELIABLE)
        setup.wait_for(publisher.get_subscription_count, "subscription")
        publisher.publish(spoil(scale=-1.0))
        publisher.publish(loop_closure_to_msg(loop, "camera"))
        setup.wait_for(lambda: setup.estimator.loop_counts, "verdict")
        assert setup.estimator.loop_counts == {"ACCEPTED": 1}
        assert setup.node._report()[2]["loops ACCEPTED"] == 1
        assert setup.node.guard.refused == {"loop_closure": 1}
