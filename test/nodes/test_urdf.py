"""The URDF of a bare camera: frames as REP 103 and REP 105 name them, its optical axes as this package reads them."""

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("rclpy")

from visloc_ros.core.geometry import SE3
from visloc_ros.core.transform_tree import TransformTree
from visloc_ros.nodes.conversions import BASE_FROM_OPTICAL
from visloc_ros.nodes.fusion_output import FusionNodeConfig
from visloc_ros.nodes.simulated_camera_node import SimulatedCameraNodeConfig

URDF = Path(__file__).resolve().parents[2] / "urdf" / "camera_only.urdf"


@pytest.fixture(scope="module")
def robot() -> ET.Element:
    return ET.parse(URDF).getroot()


def transforms(robot: ET.Element) -> TransformTree:
    """What robot_state_publisher sends on /tf_static, as a node of this package collects it."""
    tree = TransformTree()
    for joint in robot.findall("joint"):
        assert joint.attrib["type"] == "fixed"
        parent, child, origin = (joint.find(name) for name in ("parent", "child", "origin"))
        assert parent is not None
        assert child is not None
        assert origin is not None
        xyz, rpy = (np.array(origin.attrib[name].split(), dtype=float) for name in ("xyz", "rpy"))
        rotation = Rotation.from_euler("xyz", rpy).as_matrix()  # roll, pitch, yaw about fixed axes
        tree.set(parent.attrib["link"], child.attrib["link"], SE3(rotation, xyz))
    return tree


def test_the_optical_axes_are_as_this_package_reads_them(robot):
    base_from_camera = transforms(robot).lookup("base_link", "camera_optical_frame")
    assert base_from_camera is not None
    assert base_from_camera.is_close(BASE_FROM_OPTICAL, 1e-12, 1e-9)
    right, down, ahead = base_from_camera.rotation.T
    np.testing.assert_allclose([ahead, right, down], [[1, 0, 0], [0, -1, 0], [0, 0, -1]], atol=1e-12)


def test_its_frames_are_those_that_the_nodes_expect(robot):
    links = {link.attrib["name"] for link in robot.findall("link")}
    assert {FusionNodeConfig().base_frame, SimulatedCameraNodeConfig().camera_frame} <= links
    joined = {joint.find(end).attrib["link"] for joint in robot.findall("joint") for end in ("parent", "child")}
    assert joined == links == {"base_link", "camera_link", "camera_optical_frame"}
