"""The simulated camera starts before its whole pass is drawn, and never jumps."""

from itertools import pairwise

import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseStamped
from node_harness import started

from visloc_ros.nodes import simulated_camera_node
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.simulated_camera_node import SimulatedCameraNode
from visloc_ros.sources.ros_messages import pose_from_msg

SHORT = ("samples:=1", "duration_s:=1.0", "rate_hz:=20.0")
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
    steps = {abs(after - before) for before, after in pairwise(rows)}
    assert steps == {1}
    assert max(rows) == 19
