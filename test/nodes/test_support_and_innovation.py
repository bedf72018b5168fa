"""What fusion tells beside the pose, as messages."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from visloc_ros.core.types import Support
from visloc_ros.fusion.innovation import TRACKED, Innovation
from visloc_ros.nodes.conversions import innovation_to_msg, support_from_msg, support_to_msg
from visloc_ros.sources.ros_messages import MessageError, stamp_from_msg


@pytest.mark.parametrize("support", Support)
def test_supports_round_trip(support):
    assert support_from_msg(support_to_msg(support)) is support


def test_an_unknown_support_is_a_bad_message():
    with pytest.raises(MessageError, match="unknown support 200"):
        support_from_msg(200)


def test_an_innovation_keeps_its_image_s_stamp_and_its_size():
    error = np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.1])
    innovation = Innovation(1_700_000_000_123_456_789, TRACKED, error, np.diag([0.01] * 3 + [0.0025] * 3), False)
    message = innovation_to_msg(innovation, "map")
    assert stamp_from_msg(message.header.stamp) == innovation.stamp_ns
    assert (message.header.frame_id, message.source, message.accepted) == ("map", "tracked", False)
    assert message.squared == pytest.approx(8.0)
    assert message.error.tolist() == error.tolist()
