"""The files for RViz and Foxglove show what the nodes publish, under its name, with its type and its QoS."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy")

from visloc_ros.nodes.interface import Endpoint, Kind, NodeInterface

REPOSITORY = Path(__file__).resolve().parents[2]
RVIZ = yaml.safe_load((REPOSITORY / "rviz" / "visloc.rviz").read_text(encoding="utf-8"))["Visualization Manager"]
FOXGLOVE = json.loads((REPOSITORY / "foxglove" / "visloc.json").read_text(encoding="utf-8"))

# The displays and tools of rviz_default_plugins in Humble and later that are used here, with what they take.
RVIZ_TYPES = {
    "Grid": None,
    "TF": "tf2_msgs/TFMessage",
    "Image": "sensor_msgs/Image",
    "Path": "nav_msgs/Path",
    "PointCloud2": "sensor_msgs/PointCloud2",
    "Polygon": "geometry_msgs/PolygonStamped",
    "PoseArray": "geometry_msgs/PoseArray",
    "PoseWithCovariance": "geometry_msgs/PoseWithCovarianceStamped",
    "Map": "nav_msgs/OccupancyGrid",
    "MoveCamera": None,
    "SetInitialPose": "geometry_msgs/PoseWithCovarianceStamped",
}
FOXGLOVE_3D = {
    RVIZ_TYPES[name] for name in ("Map", "Path", "PointCloud2", "Polygon", "PoseArray", "PoseWithCovariance")
}
IMAGES = {"sensor_msgs/Image", "sensor_msgs/CompressedImage"}

SHOWN = {
    "/visloc/camera_frustum",
    "/visloc/pose",
    "/visloc/accepted_anchors",
    "/visloc/refused_anchors",
    "/visloc/followed_points",
    "/visloc/map_plan",
    "/visloc/map_points",
    "/visloc/inlier_points",
    "/visloc/matches/compressed",
    "/visloc/map_path",
    "/visloc/odom_path",
}


def by_name(interfaces: list[NodeInterface], kind: Kind) -> dict[str, Endpoint]:
    """The endpoints of all nodes by their full name."""
    offered = (one for interface in interfaces for one in interface.endpoints[kind])
    return {one.name if one.name.startswith("/") else f"/visloc/{one.name}": one for one in offered}


@pytest.fixture(scope="module")
def published(interfaces) -> dict[str, Endpoint]:
    return by_name(interfaces, Kind.PUBLISHED)


@pytest.fixture(scope="module")
def subscribed(interfaces) -> dict[str, Endpoint]:
    return by_name(interfaces, Kind.SUBSCRIBED)


def class_of(item: dict[str, Any]) -> str:
    package, _, name = item["Class"].partition("/")
    assert package == "rviz_default_plugins"
    return name


def displays() -> Iterator[tuple[str, dict[str, Any]]]:
    """The displays with a topic: what each takes, and its topic."""
    return ((class_of(one), one["Topic"]) for one in RVIZ["Displays"] if "Topic" in one)


def test_rviz_knows_every_display_and_tool():
    assert {class_of(one) for one in (*RVIZ["Displays"], *RVIZ["Tools"])} <= set(RVIZ_TYPES)
    assert class_of(RVIZ["Views"]["Current"]) == "Orbit"


def test_every_display_of_rviz_has_a_topic_of_its_type(published):
    for name, topic in displays():
        expected = RVIZ_TYPES[name]
        if name == "Image" and topic["Value"].endswith("/compressed"):
            expected = "sensor_msgs/CompressedImage"  # RViz takes the transport from the end of the name
        assert published[topic["Value"]].type_name == expected, topic


def test_every_display_of_rviz_asks_for_the_qos_that_is_offered(published):
    for _, topic in displays():
        qos = published[topic["Value"]].qos
        assert topic["Reliability Policy"] == ("Best Effort" if "best effort" in qos else "Reliable"), topic
        assert topic["Durability Policy"] == ("Transient Local" if "transient local" in qos else "Volatile"), topic


def test_the_pose_that_rviz_sets_is_heard(subscribed):
    (tool,) = (one for one in RVIZ["Tools"] if class_of(one) == "SetInitialPose")
    assert subscribed[tool["Topic"]["Value"]].type_name == RVIZ_TYPES["SetInitialPose"]


def test_both_viewers_show_what_there_is_to_see():
    (pose,) = (one for one in RVIZ["Displays"] if class_of(one) == "PoseWithCovariance")
    assert pose["Covariance"]["Value"]
    assert pose["Covariance"]["Position"]["Value"]
    assert {topic["Value"] for _, topic in displays()} == SHOWN
    shown = {topic for panel in panels("3D") for topic in panel["topics"]}
    assert shown | {panel["imageMode"]["imageTopic"] for panel in panels("Image")} == SHOWN
    assert all(panel["topics"]["/visloc/pose"]["showCovariance"] for panel in panels("3D"))


def test_fixed_frames_are_the_map(interfaces):
    assert RVIZ["Global Options"]["Fixed Frame"] == "map"
    assert [panel["followTf"] for panel in panels("3D")] == ["map"]


def panels(kind: str) -> list[dict[str, Any]]:
    found = [panel for name, panel in FOXGLOVE["configById"].items() if name.partition("!")[0] == kind]
    assert found, kind
    return found


def test_every_panel_of_foxglove_is_laid_out():
    def leaves(part: Any) -> Iterator[str]:
        if isinstance(part, str):
            yield part
        else:
            yield from leaves(part["first"])
            yield from leaves(part["second"])

    assert sorted(leaves(FOXGLOVE["layout"])) == sorted(FOXGLOVE["configById"])


def test_every_topic_of_foxglove_is_published_with_a_type_that_its_panel_draws(published, subscribed):
    for panel in panels("3D"):
        assert {published[topic].type_name for topic in panel["topics"]} <= FOXGLOVE_3D
        prior = subscribed[panel["publish"]["poseEstimateTopic"]]
        assert prior.type_name == "geometry_msgs/PoseWithCovarianceStamped"
    for panel in panels("Image"):
        assert published[panel["imageMode"]["imageTopic"]].type_name in IMAGES
    for panel in panels("DiagnosticSummary"):
        assert published[panel["topicToRender"]].type_name == "diagnostic_msgs/DiagnosticArray"


def test_every_curve_of_foxglove_is_a_field_of_a_published_message(published):
    for panel in (*panels("Plot"), *panels("StateTransitions")):
        for path in panel["paths"]:
            topic, _, field = path["value"].partition(".")
            package, _, name = published[topic].type_name.partition("/")
            message_type = getattr(importlib.import_module(f"{package}.msg"), name)
            assert field in message_type.get_fields_and_field_types()
