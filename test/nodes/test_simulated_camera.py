"""The simulated camera starts before its whole pass is drawn, and never jumps."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseStamped
from node_harness import started

from visloc_ros.nodes import simulated_camera_node
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.simulated_camera_node import SimulatedCameraNode
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg

SHORT = ("samples:=1", "duration_s:=1.0", "rate_hz:=20.0")
PERIOD_NS = 50_000_000
ARGUMENTS = [one for option in SHORT for one in ("-p", f"simulation.{option}")]


def test_it_shows_the_begin_until_the_whole_pass_is_drawn_and_never_jerks(ros_domain, monkeypatch):
    monkeypatch.setattr(simulated_camera_node, "DRAWN_FIRST_S", 0.5)
    shown = []
    with started(SimulatedCameraNode, *ARGUMENTS) as harness:
        node = harness.node
        harness.probe.create_subscription(PoseStamped, "ground_truth", shown.append, RELIABLE)
        harness.wait_for(lambda: len(node._jpegs) == 30, "the begin and the whole pass")
        drawn = len(shown)  # from here on, to the begin and once back and forth takes 60 steps at most
        harness.wait_for(lambda: len(shown) > drawn + 60, "poses")
        truth = node._truth
    places = [pose_from_msg(message.pose).translation for message in shown]
    assert min(np.linalg.norm(place - truth[29].translation) for place in places) < 1e-6
    seconds = np.array(stamps_of(shown)) / 1e9
    speeds = np.diff(places, axis=0) / np.diff(seconds)[:, None]
    accelerations = np.diff(speeds, axis=0) / (0.5 * (seconds[2:] - seconds[:-2]))[:, None]
    assert np.linalg.norm(accelerations, axis=1).max() < 4.0  # turning back at once: 18 m/s2


def test_a_camera_that_comes_late_leaves_images_out_and_its_motion_keeps_to_the_stamps(ros_domain, monkeypatch):
    """Constant steps at irregular stamps would be a camera that jerks."""
    shown, now_ns = [], [0]
    with started(SimulatedCameraNode, *ARGUMENTS) as harness:
        node = harness.node
        harness.wait_for(lambda: len(node._jpegs) == 20, "the pass")
        harness.probe.create_subscription(PoseStamped, "ground_truth", shown.append, RELIABLE)
        harness.wait_for(lambda: shown, "a pose")
        monkeypatch.setattr(node, "now_ns", lambda: now_ns[0])
        node._index, node._step, node._shown_ns, begin_ns = 0, 1, 10**15, 10**15
        shown.clear()
        for late in (1.0, 2.1, 5.4, 5.6):
            now_ns[0] = begin_ns + round(late * PERIOD_NS)
            node._publish()
        harness.wait_for(lambda: len(shown) >= 4, "poses")
        truth = node._truth
    assert [round((stamp_ns - begin_ns) / PERIOD_NS) for stamp_ns in stamps_of(shown)] == [1, 2, 5, 6]
    for message, row in zip(shown, (1, 2, 5, 6), strict=True):
        assert truth[row].is_close(pose_from_msg(message.pose))


def stamps_of(messages):
    return [stamp_from_msg(message.header.stamp) for message in messages]
