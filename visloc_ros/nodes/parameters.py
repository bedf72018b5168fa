"""A node's options: the named ones as ROS parameters, the others from a file; one source of names, types and ranges."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from visloc_ros.core.config import Config, OptionInfo, list_options, nest, read_mapping
from visloc_ros.core.errors import ConfigError

ConfigT = TypeVar("ConfigT", bound=Config)

CONFIG_FILE = "config_file"
EFFECTIVE_CONFIG = "effective_config"
CONFIG_FILE_MEANING = (
    "YAML file with the options that are no parameters, under the same names, nested; read at configuration; "
    "a parameter overrides the file; empty for none"
)

_PATHS = ("_path", "_folder", "_file", "_dir")  # names of options end so; '~' begins names of topics, too
_MUCH_ALIKE = 0.86  # names that differ by a letter or two; no two parameters of all nodes are so near

# Ranges of parameters are closed on both sides in ROS; a missing side becomes practically unbounded.
UNBOUNDED_INTEGER = 2**62
UNBOUNDED_FLOAT = 1e300


def select_options(config_type: type[Config], names: Collection[str]) -> list[OptionInfo]:
    """The options of these names; that of a group stands for all in it. Raises ConfigError on an unknown one."""
    options = list(list_options(config_type))
    for name in names:
        if not any(_is_in(item.name, name) for item in options):
            raise ConfigError(f"{config_type.__name__} has no option or group '{name}'")
    return [item for item in options if any(_is_in(item.name, name) for name in names)]


def _is_in(option: str, name: str) -> bool:
    return option == name or option.startswith(f"{name}.")


def declare_parameters(node: Node, options: Iterable[OptionInfo]) -> None:
    """Declare one parameter for each option; values of a parameter file or of the command line win."""
    for item in options:
        node.declare_parameter(item.name, item.default, _descriptor(item))


def read_parameters(node: Node, options: Iterable[OptionInfo]) -> dict[str, Any]:
    """Values of the declared parameters as nested dictionaries."""
    return nest({item.name: node.get_parameter(item.name).value for item in options})


class NodeOptions(Generic[ConfigT]):
    """Parameters of a node for the options with these ``names``; ``config_file`` names a file for the others.

    The parameter ``effective_config`` holds the resulting configuration as YAML; only the node itself can set it. The
    others take the values of their options, and only while the node is not configured: later they have no effect.
    """

    def __init__(self, node: Node, config_type: type[ConfigT], names: Collection[str]) -> None:
        self._node, self._config_type = node, config_type
        self._options = select_options(config_type, names)
        self._effective, self._is_in_use = "", False
        declare_parameters(node, self._options)
        node.declare_parameter(CONFIG_FILE, "", ParameterDescriptor(description=CONFIG_FILE_MEANING))
        meaning = "all options that the node was configured with, as YAML; only the node sets it"
        node.declare_parameter(EFFECTIVE_CONFIG, "", ParameterDescriptor(description=meaning), ignore_override=True)
        node.add_on_set_parameters_callback(self._judge)

    def read(self) -> ConfigT:
        """Read parameters and file into a checked configuration, and show it; it is in use until ``release``.

        Raises ConfigError, also for an unknown parameter that is similar to a known one.
        """
        self._refuse_misspelt()
        path = self._node.get_parameter(CONFIG_FILE).value
        from_file = read_mapping(Path(path).expanduser()) if path else {}
        parameters = read_parameters(self._node, self._options)
        for name in _overridden(from_file, parameters):
            self._node.get_logger().warning(f"{name} of {path} is not used: the parameter of that name overrides it")
        config = self._config_type.from_mapping(_with_home(_merged(from_file, parameters)))
        self._effective = yaml.safe_dump(config.to_mapping(), sort_keys=False)
        self._node.set_parameters([Parameter(EFFECTIVE_CONFIG, value=self._effective)])
        self._is_in_use = True
        return config

    def release(self) -> None:
        """End the use of the configuration that was read."""
        self._is_in_use = False

    def _judge(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        reason = next(filter(None, map(self._why_not, parameters)), "")
        return SetParametersResult(successful=not reason, reason=reason)

    def _why_not(self, parameter: Parameter) -> str:
        """Why a parameter cannot be set to a value; empty if it can."""
        name = parameter.name
        if name == EFFECTIVE_CONFIG:
            return "" if parameter.value == self._effective else f"{name} only shows what is set elsewhere"
        is_option = any(item.name == name for item in self._options)
        if not is_option and name != CONFIG_FILE:
            return ""
        if self._is_in_use:
            return f"{name} takes effect when the node is configured: deactivate it and clean it up, then set it"
        try:
            self._config_type.from_mapping(nest({name: parameter.value}) if is_option else {})
        except ConfigError as error:
            return str(error)
        return ""

    def _refuse_misspelt(self) -> None:
        """Refuse names similar to this node's parameters; other unknown names in a file are for other nodes."""
        own = [item.name for item in self._options]
        given = self._node._parameter_overrides  # rclpy has no other way to them
        for name in given:
            near = [] if self._node.has_parameter(name) else get_close_matches(name, own, n=1, cutoff=_MUCH_ALIKE)
            if near and near[0] not in given:
                raise ConfigError(f"there is no parameter '{name}': did you mean '{near[0]}'?")


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries of both, where ``over`` overrides; a value in place of a group stays as it is."""
    merged = dict(base)
    for name, value in over.items():
        below = base.get(name, {})
        if not isinstance(value, Mapping):
            merged[name] = value
        elif isinstance(below, Mapping):
            merged[name] = _merged(below, value)
    return merged


def _with_home(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with '~' of paths replaced: no shell reads the parameters of a launch file."""
    changed = dict(options)
    for name, value in options.items():
        if isinstance(value, Mapping):
            changed[name] = _with_home(value)
        elif isinstance(value, str) and name.endswith(_PATHS):
            changed[name] = os.path.expanduser(value)
    return changed


def _overridden(base: Mapping[str, Any], over: Mapping[str, Any], group: str = "") -> Iterator[str]:
    """Dotted names of values of ``base`` for which ``over`` has others."""
    for name in base.keys() & over.keys():
        below, above = base[name], over[name]
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            yield from _overridden(below, above, f"{group}{name}.")
        elif below != above and not isinstance(above, Mapping):
            yield f"{group}{name}"


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
