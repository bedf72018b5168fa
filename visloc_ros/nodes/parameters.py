"""ROS parameters made from the configuration dataclasses: one source of names, types, ranges and defaults."""

from __future__ import annotations

from typing import TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from visloc_ros.core.config import Config, OptionInfo, list_options, nest

ConfigT = TypeVar("ConfigT", bound=Config)

# Ranges of parameters are closed on both sides in ROS; a missing side is as good as unbounded.
UNBOUNDED_INTEGER = 2**62
UNBOUNDED_FLOAT = 1e300


def declare_parameters(node: Node, config_type: type[Config]) -> None:
    """Declare one parameter for each option; values of a parameter file or of the command line win."""
    for item in list_options(config_type):
        node.declare_parameter(item.name, item.default, _descriptor(item))


def read_parameters(node: Node, config_type: type[ConfigT]) -> ConfigT:
    """Read the declared parameters into a checked configuration. Raises ConfigError."""
    flat = {item.name: node.get_parameter(item.name).value for item in list_options(config_type)}
    return config_type.from_mapping(nest(flat))


def _descriptor(item: OptionInfo) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=item.description, read_only=False)
    if item.choices is not None:
        descriptor.additional_constraints = "one of: " + ", ".join(map(str, item.choices))
    bounded = item.minimum is not None or item.maximum is not None
    if bounded and item.type is int:
        low = -UNBOUNDED_INTEGER if item.minimum is None else int(item.minimum)
        high = UNBOUNDED_INTEGER if item.maximum is None else int(item.maximum)
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
    if bounded and item.type is float:
        low_f = -UNBOUNDED_FLOAT if item.minimum is None else float(item.minimum)
        high_f = UNBOUNDED_FLOAT if item.maximum is None else float(item.maximum)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low_f, to_value=high_f)]
    return descriptor
