"""The simulated camera starts before its whole pass is drawn, and never jumps."""

from itertools import pairwise

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


def test_it_goes_back_and_forth_in_what_is_drawn_and_further_as_more_is(ros_domain, monkeypatch):
    monkeypatch.setattr(simulated_camera_node, "DRAWN_FIRST_S", 0.2)
    shown = []
    with started(SimulatedCameraNode, *ARGUMENTS) as harness:
        node = harness.node
        harness.probe.create_subscription(PoseStamped, "ground_truth", shown.append, RELIABLE)
        harness.wait_for(lambda: len(node._jpegs) == len(node._sequence) == 20, "the whole pass")
        drawn = len(shown)  # from here on, back and forth takes 38 steps, wherever it is now
        harness.wait_for(lambda: len(shown) > drawn + 40, "poses")
        truth = node._truth
    places = [pose_from_msg(message.pose) for message in shown]
    rows = [min(range(20), key=lambda row, at=at: abs(truth[row].translation - at.translation).sum()) for at in places]
    steps = [abs(after - before) for before, after in pairwise(rows)]
    periods = [round((after - before) / PERIOD_NS) for before, after in pairwise(stamps_of(shown))]
    assert min(periods) >= 1
    assert all(step <= period for step, period in zip(steps, periods, strict=True))
    assert max(rows) == 19


def test_a_camera_that_comes_late_leaves_images_out_and_its_motion_keeps_to_the_stamps(ros_domain, monkeypatch):
    """Constant steps at irregular stamps would be a camera that jerks."""
    shown, now_ns = [], [0]
    with started(SimulatedCameraNode, *ARGUMENTS) as harness:
        node = harness.node
        harness.wait_for(lambda: len(node._jpegs) == 20, "the whole pass")
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
