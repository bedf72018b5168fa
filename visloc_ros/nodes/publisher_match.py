"""Why what somebody publishes does not reach a subscription, as ROS's graph tells."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy


def mismatch(node: Node, topic: str, message_type: type, qos: QoSProfile) -> str:
    """What keeps a topic's publishers from a subscription of this type and QoS, with what to do; or nothing."""
    publishers = node.get_publishers_info_by_topic(topic)
    expected = f"{message_type.__module__.partition('.')[0]}/msg/{message_type.__name__}"
    types = sorted({one.topic_type for one in publishers})
    if types and expected not in types:
        return (
            f"it carries {' and '.join(types)}, not {expected}: choose the other camera.transport, or the right topic"
        )
    fitting = [one for one in publishers if one.topic_type == expected]
    are_best_effort = [one.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for one in fitting]
    if fitting and all(are_best_effort) and qos.reliability == ReliabilityPolicy.RELIABLE:
        return "it is published best effort, and this node asks for reliable: set camera.qos to sensor_data"
    return ""
