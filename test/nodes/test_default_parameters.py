from pathlib import Path

import pytest

pytest.importorskip("rclpy")

import yaml

from visloc_ros.core.config import nest
from visloc_ros.nodes.default_parameters import NODES, parameter_file
from visloc_ros.nodes.parameters import CONFIG_FILE

CONFIG = Path(__file__).resolve().parents[2] / "config"
TWO_SCREENS = 100  # lines
each_node = pytest.mark.parametrize("node_type", NODES, ids=lambda node: node.default_name)


@each_node
def test_the_files_in_config_are_what_the_code_says(node_type):
    assert (CONFIG / f"{node_type.default_name}.yaml").read_text() == parameter_file(node_type), "run 'make config'"


@each_node
def test_the_files_hold_the_defaults(node_type):
    (values,) = yaml.safe_load(parameter_file(node_type)).values()
    parameters = values["ros__parameters"]
    assert parameters.pop(CONFIG_FILE) == ""
    assert node_type.config_type.from_mapping(nest(parameters)) == node_type.config_type()


@each_node
def test_a_file_fits_two_screens(node_type):
    assert len(parameter_file(node_type).splitlines()) <= TWO_SCREENS
