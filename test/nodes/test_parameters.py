from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches

import pytest

pytest.importorskip("rclpy")

import rclpy
import yaml
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import ConfigError
from visloc_ros.fusion.config import FusionConfig, SlewConfig, StateConfig
from visloc_ros.nodes import parameters
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.default_parameters import NODES
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.parameters import CONFIG_FILE, EFFECTIVE_CONFIG, NodeOptions, select_options


@dataclass(frozen=True)
class SmallConfig(Config):
    name: str = option("robot", "what it is called")
    fusion: FusionConfig = section(FusionConfig)


class SmallNode(VislocNode[SmallConfig]):
    default_name = "small_node"
    config_type = SmallConfig
    parameter_names = ("name", "fusion.slew")


@contextmanager
def running(make_node, **parameters):
    options = [word for name, value in parameters.items() for word in ("-p", f"{name.replace('__', '.')}:={value}")]
    rclpy.init(args=["--ros-args", *options])
    node = make_node()
    try:
        yield node
    finally:
        if isinstance(node, VislocNode):
            node.release()
        node.destroy_node()
        rclpy.shutdown()


@pytest.fixture
def config_file(tmp_path):
    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def errors(monkeypatch):
    """What a small node says when it cannot be configured."""
    said = []
    logger = rclpy.logging.get_logger("visloc.small_node").__class__
    monkeypatch.setattr(logger, "error", lambda _, text, **__: said.append(text))
    return said


@pytest.mark.parametrize("node_type", NODES, ids=lambda node: node.default_name)
def test_a_node_without_a_file_has_the_defaults(node_type, ros_domain):
    with running(lambda: Node("plain")) as node:
        options = NodeOptions(node, node_type.config_type, node_type.parameter_names)
        assert options.read() == node_type.config_type()


def test_the_name_of_a_group_stands_for_its_options():
    names = [item.name for item in select_options(SmallConfig, SmallNode.parameter_names)]
    assert names == ["name", *(f"fusion.slew.{name}" for name in SlewConfig().to_mapping())]


def test_a_parameter_that_is_no_option_is_refused():
    with pytest.raises(ConfigError, match=r"no option or group 'fusion\.slow'"):
        select_options(SmallConfig, ("name", "fusion.slow"))


def test_only_the_named_options_are_parameters(ros_domain):
    with running(SmallNode) as node:
        assert node.has_parameter("fusion.slew.speed")
        assert not node.has_parameter("fusion.window")


def test_the_file_sets_what_is_no_parameter(config_file, ros_domain):
    path = config_file("fusion: {window: 7, state: {lost_sigma: 3}}")
    with running(SmallNode, config_file=path) as node:
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert node.config == SmallConfig(fusion=FusionConfig(window=7, state=StateConfig(lost_sigma=3.0)))


def test_a_parameter_goes_before_the_file(config_file, ros_domain):
    path = config_file("name: rover\nfusion: {window: 7, slew: {speed: 0.9, turn_rate_deg: 15.0}}")
    with running(SmallNode, config_file=path, fusion__slew__speed=0.2) as node:
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert node.config == SmallConfig(fusion=FusionConfig(window=7, slew=SlewConfig(speed=0.2)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fusion: {windows: 7}", "unknown option 'fusion.windows'; did you mean 'window'?"),
        ("fusion: {slew: {sped: 7}}", "unknown option 'fusion.slew.sped'; did you mean 'speed'?"),
        ("fusion: 7", "option 'fusion' is a group of options, not 7"),
        ("fusion: {window: 1}", "FusionConfig.window = 1 is outside [2, 200]"),
    ],
)
def test_a_wrong_file_fails_the_transition_in_words(text, words, config_file, errors, ros_domain):
    with running(SmallNode, config_file=config_file(text)) as node:
        assert node.trigger_configure() is TransitionCallbackReturn.FAILURE
    assert errors == [words]


def test_a_file_that_is_missing_fails_the_transition_until_another_is_named(tmp_path, errors, ros_domain):
    with running(SmallNode, config_file=tmp_path / "absent.yaml") as node:
        assert node.trigger_configure() is TransitionCallbackReturn.FAILURE
        assert node.set_parameters([Parameter(CONFIG_FILE, value="")])[0].successful
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
    assert len(errors) == 1
    assert "absent.yaml" in errors[0]


def test_the_file_is_read_again_at_the_next_configuration(config_file, ros_domain):
    path = config_file("fusion: {window: 7}")
    with running(SmallNode, config_file=path) as node:
        for window in (7, 9):
            path.write_text(f"fusion: {{window: {window}}}")
            assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
            assert node.config.fusion.window == window
            assert node.trigger_cleanup() is TransitionCallbackReturn.SUCCESS


def test_a_node_shows_all_that_it_was_configured_with(config_file, ros_domain):
    path = config_file("fusion: {window: 7}")
    with running(FusionNode, config_file=path, fusion__slew__speed=0.2) as node:
        assert node.get_parameter(EFFECTIVE_CONFIG).value == ""
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        effective = yaml.safe_load(node.get_parameter(EFFECTIVE_CONFIG).value)
        assert FusionNode.config_type.from_mapping(effective) == node.config
        assert (effective["fusion"]["window"], effective["fusion"]["slew"]["speed"]) == (7, 0.2)


def test_what_has_no_effect_any_more_is_refused_until_the_node_is_cleaned_up(ros_domain):
    with running(SmallNode) as node:
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        for parameter in (Parameter("name", value="rover"), Parameter(CONFIG_FILE, value="other.yaml")):
            (result,) = node.set_parameters([parameter])
            assert not result.successful
            assert "deactivate it and clean it up" in result.reason
        (result,) = node.set_parameters([Parameter(EFFECTIVE_CONFIG, value="name: other")])  # the node alone sets it
        assert not result.successful
        assert "other" not in node.get_parameter(EFFECTIVE_CONFIG).value
        assert node.trigger_cleanup() is TransitionCallbackReturn.SUCCESS
        assert node.set_parameters([Parameter("name", value="rover")])[0].successful
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert node.config.name == "rover"


def test_a_value_that_the_option_cannot_have_is_refused_in_words(ros_domain):
    with running(FusionNode) as node:
        (result,) = node.set_parameters([Parameter("mode", value="nonsense")])
        assert not result.successful
        assert "nonsense" in result.reason
        assert "hloc" in result.reason


def test_a_parameter_that_is_misspelt_fails_the_transition(errors, ros_domain):
    with running(SmallNode, fusion__slew__sped=0.2) as node:
        assert node.trigger_configure() is TransitionCallbackReturn.FAILURE
    assert errors == ["there is no parameter 'fusion.slew.sped': did you mean 'fusion.slew.speed'?"]


def test_parameters_of_other_nodes_in_the_same_file_are_no_mistakes(ros_domain):
    with running(SmallNode, map_path="office", anchor__max_risk=0.1) as node:
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS


def test_the_home_folder_in_a_path(ros_domain, monkeypatch):
    monkeypatch.setenv("HOME", "/home/robot")
    with running(FusionNode, state_dir="~/state") as node:
        assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        assert node.config.state_dir == "/home/robot/state"


def test_no_two_parameters_of_all_nodes_are_taken_for_one_misspelt():
    names = {node: [item.name for item in select_options(node.config_type, node.parameter_names)] for node in NODES}
    for node, own in names.items():
        others = {name for other in names if other is not node for name in names[other]} - set(own)
        assert not [name for name in others if get_close_matches(name, own, n=1, cutoff=parameters._MUCH_ALIKE)]
