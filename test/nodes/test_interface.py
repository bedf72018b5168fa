"""The page of the ROS interface is what the nodes offer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.default_parameters import NODES
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.interface import DESCRIPTIONS, Endpoint, Kind, NodeInterface, interface_page

REPOSITORY = Path(__file__).resolve().parents[2]


def endpoints(interfaces: list[NodeInterface], kind: Kind) -> Iterator[tuple[type[VislocNode], Endpoint]]:
    return ((one.node_type, endpoint) for one in interfaces for endpoint in one.endpoints[kind])


def test_the_page_in_docs_is_up_to_date(interfaces):
    assert (REPOSITORY / "docs" / "ros_interface.md").read_text() == interface_page(interfaces), "run 'make docs'"


def test_every_topic_and_service_is_described_and_no_other(interfaces):
    offered = {endpoint.name for kind in Kind for _, endpoint in endpoints(interfaces, kind)}
    assert offered == set(DESCRIPTIONS)


def test_every_node_is_on_the_page(interfaces):
    assert [one.node_type for one in interfaces] == list(NODES)


def test_a_topic_has_one_type(interfaces):
    for kind in (Kind.SUBSCRIBED, Kind.PUBLISHED):
        types = {(endpoint.name, endpoint.type_name) for _, endpoint in endpoints(interfaces, kind)}
        assert len(types) == len({name for name, _ in types})


def test_only_the_fusion_node_sends_tf(interfaces):
    assert [node for node, endpoint in endpoints(interfaces, Kind.PUBLISHED) if endpoint.name == "/tf"] == [FusionNode]


def test_what_every_lifecycle_node_has_is_left_out(interfaces):
    names = {endpoint.name for kind in Kind for _, endpoint in endpoints(interfaces, kind)}
    assert not {name for name in names if name.endswith(("/change_state", "/get_parameters", "/rosout"))}
