from pathlib import Path

import pytest

pytest.importorskip("rclpy")

import rclpy
import yaml

from visloc_ros.core.config import nest
from visloc_ros.nodes.default_parameters import NODES, parameter_file
from visloc_ros.nodes.parameters import declare_parameters, read_parameters

CONFIG = Path(__file__).resolve().parents[2] / "config"


@pytest.mark.parametrize("node_type", NODES, ids=lambda node: node.default_name)
def test_the_files_in_config_are_what_the_code_says(node_type):
    assert (CONFIG / f"{node_type.default_name}.yaml").read_text() == parameter_file(node_type), "run 'make config'"


@pytest.mark.parametrize("node_type", NODES, ids=lambda node: node.default_name)
def test_the_files_hold_the_defaults(node_type):
    (values,) = yaml.safe_load(parameter_file(node_type)).values()
    assert node_type.config_type.from_mapping(nest(values["ros__parameters"])) == node_type.config_type()


@pytest.mark.parametrize("node_type", NODES, ids=lambda node: node.default_name)
def test_declared_parameters_give_the_defaults_back(node_type, ros_domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("parameters", context=context)
    try:
        declare_parameters(node, node_type.config_type)
        assert read_parameters(node, node_type.config_type) == node_type.config_type()
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
