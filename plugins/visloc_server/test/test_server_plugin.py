"""What launch files, pages, policies and the command line get to know of the plug-in is what it does."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from visloc_command import visloc

from visloc_ros.apps.aliases import all_aliases
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.plugin_nodes import plugin_nodes, remote_search
from visloc_ros.nodes.default_parameters import parameter_file
from visloc_ros.nodes.interface import DESCRIPTIONS, Kind
from visloc_ros.nodes.security_policy import policy
from visloc_server.nodes.interface import interface_page
from visloc_server.nodes.remote_anchor_node import RemoteAnchorNode
from visloc_server.plugin import COMMANDS, REMOTE_ANCHOR_NODE

PLUGIN = Path(__file__).resolve().parents[1]
AGAIN = "run 'python -m visloc_server.nodes.interface plugins/visloc_server'"


@pytest.fixture(scope="module")
def interface():
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
        (found,) = REMOTE_ANCHOR_NODE.list_interfaces()
    return found


def test_it_is_found_by_the_addresses_that_it_asks():
    assert REMOTE_ANCHOR_NODE in plugin_nodes()
    assert REMOTE_ANCHOR_NODE.executable == RemoteAnchorNode.default_name
    assert REMOTE_ANCHOR_NODE.module == RemoteAnchorNode.__module__
    assert all(remote_search(f"{scheme}://gpu-box:8090") == REMOTE_ANCHOR_NODE for scheme in ("http", "https", "HTTP"))
    for address, words in (("ftp://gpu-box", "nothing that is installed asks"), ("gpu-box:8090", "is no address")):
        with pytest.raises(ConfigError, match=words):
            remote_search(address)


def test_its_parameters_are_those_that_launch_files_give():
    assert {"server_url", "server_map", "token_file", "map_frame"} < set(RemoteAnchorNode.parameter_names)


def test_the_page_and_the_parameter_file_are_what_the_node_says(interface):
    assert (PLUGIN / "docs" / "ros_interface.md").read_text() == interface_page(interface), AGAIN
    assert (PLUGIN / "config" / "remote_anchor_node.yaml").read_text() == parameter_file(RemoteAnchorNode), AGAIN


def test_its_topics_are_those_of_the_anchor_node(interface):
    offered = {one.name for endpoints in interface.endpoints.values() for one in endpoints}
    assert {"anchor", "camera_info", "loaded_map"} <= offered <= set(DESCRIPTIONS)


def test_a_policy_has_its_rights_as_those_of_other_nodes(interface):
    root = ET.fromstring(policy({"remote_anchor_node": [interface]}, "robot1/visloc"))
    enclaves = {one.attrib["path"]: one for one in root.iter("enclave")}
    profile = enclaves["/robot1/visloc/remote_anchor_node"].find("profiles/profile")
    rights = {
        right: {one.text for topics in profile.findall("topics") if right in topics.attrib for one in topics}
        for right in ("publish", "subscribe")
    }
    assert rights["publish"] >= {one.name for one in interface.endpoints[Kind.PUBLISHED]}
    assert {"image", "image/compressed", "camera_info"} <= rights["subscribe"]
    assert not rights["publish"] & {"/tf", "/tf_static"}


def test_server_lists_the_scenes_where_that_tool_keeps_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / all_aliases()["app"].defaults["output"]).parent.mkdir(parents=True)
    ports = []
    monkeypatch.setattr(
        "visloc_server.lasting.answer_requests", lambda listener, _: ports.append(listener.getsockname()[1])
    )
    done = visloc("server", "--port", 8091)
    assert (done.exit_code, ports) == (0, [8091]), done.output
    assert f"0 maps of {COMMANDS.aliases['server'].defaults['maps']}" in done.output
