"""The SROS 2 policy is what the running nodes need, all of it and nothing else."""

import gc
import sys
import time
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from node_harness import TIMEOUT_S

from visloc_ros.apps.processes import NodeSpec
from visloc_ros.nodes import localization_node, security_policy, visloc_node
from visloc_ros.nodes.anchor_node import AnchorNode
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.map_builder_node import MapBuilderNode
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.security_policy import PARAMETER_SERVICES, list_processes, policy
from visloc_ros.nodes.simulated_camera_node import SimulatedCameraNode
from visloc_ros.nodes.viewer_node import ViewerNode

REPOSITORY = Path(__file__).resolve().parents[2]
POLICY = REPOSITORY / "security" / "visloc.policy.xml"
MAP = REPOSITORY / "maps" / "demo_room.tar.gz"
FOLLOWING = ("-p", f"map_tracking.map_path:={MAP}")
RAW, COMPRESSED = (("-p", f"camera.transport:={transport}") for transport in ("raw", "compressed"))

# How each process is run so that it opens all that it ever opens.
RUNS = {
    "localization_node": (localization_node.make_nodes, [(*RAW, *FOLLOWING), COMPRESSED]),
    "visloc_node": (
        visloc_node.make_nodes,
        [(*one, *FOLLOWING, "-p", f"map_path:={MAP}") for one in (RAW, COMPRESSED)],
    ),
    "odometry_node": (lambda: [OdometryNode()], [(*RAW, *FOLLOWING), COMPRESSED]),
    "anchor_node": (lambda: [AnchorNode()], [(*one, "-p", f"map_path:={MAP}") for one in (RAW, COMPRESSED)]),
    "fusion_node": (lambda: [FusionNode()], [()]),
    "map_builder_node": (lambda: [MapBuilderNode()], [RAW, COMPRESSED]),
    "simulated_camera_node": (lambda: [SimulatedCameraNode()], [("-p", "simulation.duration_s:=0.1")]),
    "viewer_node": (lambda: [ViewerNode()], [()]),
}
LISTENERS = ("operator", "viewer")

# Of the schema policy.xsd of sros2: what an element holds, and its attributes.
CHILDREN = {
    "policy": {"enclaves"},
    "enclaves": {"enclave"},
    "enclave": {"profiles"},
    "profiles": {"profile"},
    "profile": {"topics", "services", "actions"},
    "topics": {"topic"},
    "services": {"service"},
    "actions": {"action"},
}
RIGHTS = {"topics": {"publish", "subscribe"}, "services": {"reply", "request"}, "actions": {"call", "execute"}}
NEEDED = {"policy": {"version"}, "enclave": {"path"}, "profile": {"ns", "node"}}

Rights = dict[tuple[str, str], set[str]]
"""Full names by what they are and what is allowed: ("topics", "publish")."""


@pytest.fixture(scope="module")
def enclaves() -> dict[str, list[ET.Element]]:
    """The profiles of each enclave of the committed policy, by the last part of its path."""
    root = ET.parse(POLICY).getroot()
    return {
        one.attrib["path"].removeprefix("/visloc/"): one.findall("profiles/profile") for one in root.iter("enclave")
    }


def rights_of(profile: ET.Element) -> Rights:
    """What a profile allows, with names resolved as ROS does."""
    ns, node = profile.attrib["ns"], profile.attrib["node"]
    rights: Rights = defaultdict(set)
    for group in profile:
        for right in group.attrib:
            rights[group.tag, right] |= {resolved(one.text or "", ns, node) for one in group}
    return dict(rights)


def resolved(name: str, ns: str, node: str) -> str:
    if name.startswith("/"):
        return name
    return f"{ns}/{node}{name[1:]}" if name.startswith("~") else f"{ns}/{name}"


def opened_by(make_nodes, arguments: Sequence[str], folder: Path) -> dict[str, Rights]:
    """What each node of a process opens."""
    common = ("-p", "cameras:=left", "-p", "use_sim_time:=true", "-p", f"maps_folder:={folder}")
    rclpy.init(args=["--ros-args", *common, *arguments])
    nodes = make_nodes()
    try:
        assert all(node.start() for node in nodes)
        for node in nodes:
            node.open_on_demand()
            wait_for_graph(node)
        return {node.get_name(): on_the_graph(node) for node in nodes}
    finally:
        for node in nodes:
            node.release()
            node.destroy_node()
        rclpy.shutdown()
        del nodes, node
        gc.collect()  # nodes are reference cycles: only now do they leave the graph


def wait_for_graph(node: VislocNode) -> None:
    """The graph tells of a node's endpoints once DDS has discovered them, here, too."""
    deadline = time.monotonic() + TIMEOUT_S
    made = {one.topic_name for one in (*node.subscriptions, *node.publishers)}
    while missing := made - set().union(*(on_the_graph(node)["topics", right] for right in ("publish", "subscribe"))):
        assert time.monotonic() < deadline, f"the graph does not tell of {missing}"
        rclpy.spin_once(node, timeout_sec=0.05)


def on_the_graph(node: VislocNode) -> Rights:
    """What a running node has opened, as the ROS graph tells, in the words of a policy."""

    def names(kind: str) -> set[str]:
        ask = getattr(node, f"get_{kind}_names_and_types_by_node")
        return {name for name, _ in ask(node.get_name(), node.get_namespace())}

    opened = {
        ("topics", "publish"): names("publisher"),
        ("topics", "subscribe"): names("subscriber"),
        ("services", "reply"): names("service"),
        ("services", "request"): names("client"),
    }
    actions = {name.partition("/_action/")[0] for all_names in opened.values() for name in all_names if "/_" in name}
    rights = {key: {name for name in of if "/_action/" not in name} for key, of in opened.items()}
    rights["actions", "execute"] = actions
    return rights


@pytest.mark.parametrize("process", RUNS)
def test_a_process_may_do_what_its_nodes_do_and_nothing_else(ros_domain, tmp_path, enclaves, process):
    make_nodes, runs = RUNS[process]
    opened: dict[str, Rights] = defaultdict(lambda: defaultdict(set))
    for arguments in runs:
        for name, rights in opened_by(make_nodes, arguments, tmp_path).items():
            for key, names in rights.items():
                opened[name][key] |= names
    allowed = {one.attrib["node"]: rights_of(one) for one in enclaves[process]}
    assert set(allowed) == set(opened)
    for name, rights in allowed.items():
        for key in rights.keys() | opened[name].keys():
            assert rights.get(key, set()) == opened[name][key], (name, key)


def test_every_process_has_an_enclave(enclaves):
    assert set(enclaves) == {*RUNS, *LISTENERS}


def test_the_committed_policy_is_up_to_date(interfaces):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
        environment.setattr(security_policy, "list_interfaces", lambda _: interfaces)  # asked for once by the fixture
        processes = list_processes(MAP)
    assert POLICY.read_text(encoding="utf-8") == policy(processes), "run 'make policy'"
    renamed = ET.fromstring(policy(processes, "robot1/visloc", {"image": "/robot1/camera/image_raw", "imu": "/imu"}))
    assert {one.attrib["ns"] for one in renamed.iter("profile")} == {"/robot1/visloc"}
    subscribed = {topic.text for topics in renamed.iter("topics") if "subscribe" in topics.attrib for topic in topics}
    assert {"/robot1/camera/image_raw", "/imu", "image/compressed"} <= subscribed
    assert not {"image", "imu"} & subscribed


def test_only_the_operator_calls_services_and_shows_where_the_robot_is(enclaves):
    served: set[str] = set()
    for name, profiles in enclaves.items():
        for rights in map(rights_of, profiles):
            if name != "operator":
                assert not {("services", "request"), ("actions", "call")} & set(rights), name
                assert "/initialpose" not in rights["topics", "publish"]
            if name not in LISTENERS:
                served |= rights["services", "reply"]
    (operator,) = map(rights_of, enclaves["operator"])
    assert operator["services", "request"] == served
    assert operator["actions", "call"] == {f"/visloc/map_builder_node/{name}_map" for name in ("build", "update")}
    assert operator["topics", "publish"] == {"/initialpose", "/parameter_events", "/rosout"}


def test_a_viewer_hears_all_and_says_nothing(enclaves):
    (viewer,) = map(rights_of, enclaves["viewer"])
    said = {
        topic
        for name, profiles in enclaves.items()
        if name not in LISTENERS
        for profile in profiles
        for topic in rights_of(profile)["topics", "publish"]
    }
    assert viewer["topics", "subscribe"] == said | {"/clock"}
    assert viewer["topics", "publish"] == {"/parameter_events", "/rosout"}
    own = ("/visloc/viewer", "/_ros2cli*")
    assert viewer["services", "reply"] == {f"{node}/{service}" for node in own for service in PARAMETER_SERVICES}


def test_only_the_fusion_node_may_send_tf(enclaves):
    senders = {
        one.attrib["node"]
        for profiles in enclaves.values()
        for one in profiles
        if "/tf" in rights_of(one)["topics", "publish"]
    }
    assert senders == {"fusion_node"}


def test_the_policy_follows_the_schema():
    root = ET.parse(POLICY).getroot()
    assert (root.tag, root.attrib) == ("policy", {"version": "0.2.0"})
    for element in root.iter():
        if element.tag in CHILDREN:
            assert len(element), f"an empty <{element.tag}>"
            assert {child.tag for child in element} <= CHILDREN[element.tag]
        else:
            assert element.text
            assert not len(element)
        if element.tag in RIGHTS:
            assert set(element.attrib) <= RIGHTS[element.tag]
            assert set(element.attrib.values()) == {"ALLOW"}
        else:
            assert set(element.attrib) == NEEDED.get(element.tag, set())


def test_no_name_is_a_pattern_but_those_of_the_nodes_of_commands(enclaves):
    for name, profiles in enclaves.items():
        patterns = {one for profile in profiles for names in rights_of(profile).values() for one in names if "*" in one}
        expected = {f"/_ros2cli*/{service}" for service in PARAMETER_SERVICES} if name in LISTENERS else set()
        assert patterns == expected
    assert not set("?[") & set(POLICY.read_text(encoding="utf-8").partition("<enclaves>")[2])


def test_processes_are_started_in_their_enclaves(tmp_path):
    command = NodeSpec("anchor_node").command(tmp_path)
    assert command[command.index("--enclave") + 1] == "/visloc/anchor_node"
    command = NodeSpec("anchor_node", remappings={"__ns": "/robot1/visloc"}).command(tmp_path)
    assert command[command.index("--enclave") + 1] == "/robot1/visloc/anchor_node"


def test_a_topic_that_there_is_not_cannot_be_renamed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["security_policy", str(tmp_path / "p.xml"), "-r", "imag:=/a"])
    with pytest.raises(SystemExit) as ended:
        security_policy.main()
    assert ended.value.code == 2
    assert "'imag:=/a' is not NAME:=OTHER" in capsys.readouterr().err
