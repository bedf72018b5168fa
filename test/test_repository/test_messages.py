"""The generated interfaces: what goes over the wire comes back, and their constants match the code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from geometry_msgs.msg import Point32, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from tf2_msgs.msg import TFMessage

from visloc_msgs.msg import Anchor, LocalizationStatus, LoopClosure, OdometryStatus, StageTime, TrackedPose
from visloc_msgs.srv import BuildMap, LoadMap, Localize, SaveMap
from visloc_ros.core.types import Reason, State, Support


def tracked() -> OdometryStatus:
    message = OdometryStatus(tracked=True, segment=2, frames_received=2**40, stages=[StageTime(name="klt")])
    message.pose.pose.position.z = 0.25
    message.pose.covariance = np.arange(36, dtype=np.float64)
    return message


def accepted_anchor() -> Anchor:
    message = Anchor(accepted=True, map_name="room", metric=True, num_inliers=2, num_matches=3)
    message.header.frame_id = "map"
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 123_456_789
    message.pose.pose.orientation.w = 0.5
    message.pose.covariance = np.arange(36, dtype=np.float64)
    message.inlier_points = [Point32(x=1.0, y=2.0, z=3.0), Point32(x=-1.0)]
    message.inlier_pixels = [0.5, 0.5, 639.5, 479.5]
    message.inlier_landmarks = [7, 1]
    message.references = ["frame-000010.color.jpg"]
    message.stages = [StageTime(name="extract", milliseconds=12.5)]
    return message


def build_map_answer() -> Any:
    return BuildMap.Response(code=BuildMap.Response.MAP_EXISTS, message="'room' exists", total_images=50)


@pytest.mark.parametrize(
    "message",
    [
        accepted_anchor(),
        Anchor(reason=Reason.FEW_INLIERS.value),
        tracked(),
        OdometryStatus(tracked=True, metres_per_unit=0.25, scale_log_sigma=0.5, up=Vector3(y=-1.0)),
        LocalizationStatus(state=3, support=3, age_s=-1.0, position_sigma=0.25, anchors_accepted=7, map_name="room"),
        LoopClosure(scale=1.25, covariance=np.arange(49, dtype=np.float64)),
        TrackedPose(tracked=True, num_inliers=40, covariance_since_anchor=np.arange(36, dtype=np.float64)),
        TrackedPose(reason=Reason.FEW_MATCHES.value),
        BuildMap.Request(source="video.mp4", name="room", overwrite=True),
        build_map_answer(),
        LoadMap.Request(map_path="maps/room"),
        LoadMap.Response(code=LoadMap.Response.INVALID_MAP_DATA, message="features.h5 is truncated"),
        SaveMap.Request(path="room.tar.gz"),
        SaveMap.Response(code=SaveMap.Response.FILE_EXISTS, message="room.tar.gz already exists", size=2**40),
        Localize.Request(),
        Localize.Response(anchor=accepted_anchor()),
        TFMessage(transforms=[TransformStamped(child_frame_id="odom")]),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_survives_the_wire(message: Any) -> None:
    assert deserialize_message(serialize_message(message), type(message)) == message


def test_status_names_every_state() -> None:
    values = {state: getattr(LocalizationStatus, state.value) for state in State}
    assert sorted(values.values()) == list(range(len(State)))


def test_status_names_every_support() -> None:
    values = {support: getattr(LocalizationStatus, f"SUPPORT_{support.value}") for support in Support}
    assert sorted(values.values()) == list(range(len(Support)))


def test_load_map_answers_with_the_codes_of_nav2() -> None:
    codes = LoadMap.Response
    assert (codes.SUCCESS, codes.MAP_DOES_NOT_EXIST, codes.INVALID_MAP_DATA) == (0, 1, 2)
    assert (codes.INVALID_MAP_METADATA, codes.UNDEFINED) == (3, 255)


@pytest.fixture
def node(ros_domain: int) -> Iterator[Node]:
    rclpy.init(domain_id=ros_domain)
    try:
        yield rclpy.create_node("wire")
    finally:
        rclpy.shutdown()


@pytest.mark.ros
def test_a_service_answers_over_dds(node: Node) -> None:
    node.create_service(BuildMap, "build_map", lambda _request, _response: build_map_answer())
    client = node.create_client(BuildMap, "build_map")
    assert client.wait_for_service(timeout_sec=20)
    answer = client.call_async(BuildMap.Request())
    rclpy.spin_until_future_complete(node, answer, timeout_sec=20)
    assert answer.result() == build_map_answer()


@pytest.mark.ros
def test_a_transform_arrives_over_dds(node: Node) -> None:
    received: list[TFMessage] = []
    node.create_subscription(TFMessage, "tf", received.append, 1)
    publisher = node.create_publisher(TFMessage, "tf", 1)
    deadline = time.monotonic() + 20
    while not received and time.monotonic() < deadline:
        publisher.publish(TFMessage(transforms=[TransformStamped(child_frame_id="odom")]))
        rclpy.spin_once(node, timeout_sec=0.1)
    assert received[0].transforms[0].child_frame_id == "odom"
