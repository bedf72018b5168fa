"""What launch files, pages and policies get to know of the node is what it does."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from visloc_geo.nodes.geo_node import GeoNode
from visloc_geo.nodes.interface import interface_page
from visloc_geo.plugin import GEO_NODE, TOPICS
from visloc_ros.core.plugin_nodes import plugin_nodes
from visloc_ros.nodes.default_parameters import parameter_file
from visloc_ros.nodes.interface import DESCRIPTIONS, Kind
from visloc_ros.nodes.security_policy import policy

PLUGIN = Path(__file__).resolve().parents[1]
AGAIN = "run 'python -m visloc_geo.nodes.interface plugins/visloc_geo'"


@pytest.fixture(scope="module")
def interface():
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
        (found,) = GEO_NODE.list_interfaces()
    return found


def test_it_is_found():
    assert GEO_NODE in plugin_nodes()
    assert (GEO_NODE.executable, GEO_NODE.parameter) == (GeoNode.default_name, "database")


def test_the_page_and_the_parameter_file_are_what_the_node_says(interface):
    assert (PLUGIN / "docs" / "ros_interface.md").read_text() == interface_page(interface), AGAIN
    assert (PLUGIN / "config" / "geo_node.yaml").read_text() == parameter_file(GeoNode), AGAIN


def test_every_topic_is_described_and_no_other(interface):
    offered = {one.name for endpoints in interface.endpoints.values() for one in endpoints}
    assert set(TOPICS) <= offered <= {*TOPICS, *DESCRIPTIONS}


def test_a_policy_has_its_rights_as_those_of_other_nodes(interface):
    root = ET.fromstring(policy({"geo_node": [interface]}, "robot1/visloc"))
    enclaves = {one.attrib["path"]: one for one in root.iter("enclave")}
    profile = enclaves["/robot1/visloc/geo_node"].find("profiles/profile")
    rights = {
        right: {one.text for topics in profile.findall("topics") if right in topics.attrib for one in topics}
        for right in ("publish", "subscribe")
    }
    assert rights["publish"] >= {one.name for one in interface.endpoints[Kind.PUBLISHED]} >= {"geo/fix", "geo/geo_pose"}
    assert {"fix", "image", "image/compressed", "camera_info"} <= rights["subscribe"]
    assert "/tf" not in rights["publish"]
