"""Configuration as frozen dataclasses: one source of defaults, unknown keys refused, ranges checked.

A field is written ``max_keypoints: int = option(512, "keypoints kept per image", minimum=16)``. ROS parameters,
``config/*.yaml`` and the command line are all made from these fields.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import read_yaml
from visloc_ros.core.plugins import HINT

ConfigT = TypeVar("ConfigT", bound="Config")


def option(
    default: Any,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] | Callable[[], Sequence[Any]] | None = None,
) -> Any:
    """Declare a configuration field: its default, what it means (with the unit), and its closed range.

    ``choices`` that plug-ins add to are given as a function.
    """
    metadata = {"description": description, "minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata=metadata)


def section(config_type: type[Config]) -> Any:
    """Declare a nested group of options with that type's defaults."""
    return field(default_factory=config_type)


def plugin_sections(types: Callable[[], Mapping[str, type[Config]]]) -> Any:
    """Declare groups of options that plug-ins bring, by their names: a mapping of those that are not the defaults.

    Dotted names and files list them beside the other options; ``types`` gives their types when they are needed.
    """
    return field(default_factory=dict, metadata={"plugins": types})


@dataclass(frozen=True)
class Config:
    """Base of every configuration: values are checked whenever one is made."""

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_value(f"{type(self).__name__}.{item.name}", item, getattr(self, item.name))

    @classmethod
    def from_mapping(cls: type[ConfigT], values: Mapping[str, Any], where: str = "") -> ConfigT:
        """Make a configuration from nested dictionaries.

        Raises ConfigError on an unknown key (with the nearest known one), a wrong type or a value out of range.
        """
        own = {item.name for item in fields(cls) if _plugins_of(item) is None}
        plugins = {name: (item.name, of) for item in fields(cls) for name, of in (_plugins_of(item) or {}).items()}
        hints = get_type_hints(cls)
        arguments: dict[str, Any] = {}
        for key, value in values.items():
            if key in own:
                arguments[key] = _convert(f"{where}{key}", hints[key], value)
            elif key in plugins:
                group, config_type = plugins[key]
                options = _convert(f"{where}{key}", config_type, value)
                arguments.setdefault(group, {}).update({} if options == config_type() else {key: options})
            else:
                raise ConfigError(f"unknown option '{where}{key}'{_suggestion(key, own | set(plugins))}")
        return cls(**arguments)

    def to_mapping(self) -> dict[str, Any]:
        """Give the values as nested plain dictionaries, ready for YAML or JSON."""
        values: dict[str, Any] = {}
        for item in fields(self):
            value, plugins = getattr(self, item.name), _plugins_of(item)
            values |= {item.name: value} if plugins is None else {name: of() for name, of in plugins.items()} | value
        return {name: value.to_mapping() if isinstance(value, Config) else value for name, value in values.items()}


def read_config(config_type: type[ConfigT], path: Path | None) -> ConfigT:
    """Read a YAML file into a configuration; no path gives the defaults. Raises ConfigError."""
    return config_type() if path is None else config_type.from_mapping(read_mapping(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """Read the nested, unchecked values of a YAML file. Raises ConfigError."""
    return read_yaml(path, ConfigError)


@dataclass(frozen=True)
class OptionInfo:
    """One flat option: dotted name, type, default and documentation. Plug-ins add to ``choices`` if these are open."""

    name: str
    type: type
    default: Any
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[Any, ...] | None
    has_open_choices: bool = False


def list_options(config_type: type[Config], prefix: str = "") -> Iterator[OptionInfo]:
    """Walk all options of a configuration type, nested ones with dotted names."""
    hints = get_type_hints(config_type)
    for item in fields(config_type):
        hint, plugins = hints[item.name], _plugins_of(item)
        if plugins is not None:
            for name, of in plugins.items():
                yield from list_options(of, f"{prefix}{name}.")
            continue
        if is_dataclass(hint):
            yield from list_options(hint, f"{prefix}{item.name}.")  # type: ignore[arg-type]
            continue
        default = item.default if item.default is not MISSING else None
        meta = item.metadata
        yield OptionInfo(
            f"{prefix}{item.name}",
            hint,
            default,
            meta["description"],
            meta["minimum"],
            meta["maximum"],
            _choices_of(item),
            callable(meta["choices"]),
        )


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into nested dictionaries: ``{"a.b": 1}`` becomes ``{"a": {"b": 1}}``."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, leaf = name.split(".")
        target = nested
        for group in groups:
            target = target.setdefault(group, {})
        target[leaf] = value
    return nested


def _choices_of(item: Field[Any]) -> tuple[Any, ...] | None:
    choices = item.metadata.get("choices")
    return tuple(choices()) if callable(choices) else choices


def _plugins_of(item: Field[Any]) -> Mapping[str, type[Config]] | None:
    """Types by name of the groups that a field collects; None for any other field."""
    types = item.metadata.get("plugins")
    return None if types is None else types()


def _convert(name: str, hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"option '{name}' is a group of options, not {value!r}")
        return hint.from_mapping(value, f"{name}.")  # type: ignore[union-attr]
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise ConfigError(f"option '{name}' must be of type {hint.__name__}, not {value!r}")
    return value


def _check_value(name: str, item: Field[Any], value: Any) -> None:
    minimum, maximum = item.metadata.get("minimum"), item.metadata.get("maximum")
    choices = _choices_of(item)
    if choices is not None and value not in choices:
        others = f"; {HINT}" if callable(item.metadata["choices"]) else ""
        raise ConfigError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r}{others}")
    if (minimum is not None and not value >= minimum) or (maximum is not None and not value <= maximum):
        low = "-inf" if minimum is None else f"{minimum:g}"
        high = "inf" if maximum is None else f"{maximum:g}"
        raise ConfigError(f"{name} = {value!r} is outside [{low}, {high}]")


def _suggestion(key: str, known: set[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known))}"
