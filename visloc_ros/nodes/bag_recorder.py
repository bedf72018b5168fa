"""Messages as they arrive, written to a ROS 2 bag that contains the definitions of their types."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from visloc_ros.core.errors import OutputError, SetupError

_BAG_VERSION: Literal[8] = 8  # read from Humble on
_PRIMITIVES = {"double": "float64", "float": "float32", "boolean": "bool", "octet": "byte"}
_SEQUENCE = re.compile(r"sequence<(?P<element>[^,>]+)(?:, (?P<bound>\d+))?>")


def write_recording(
    path: Path, messages: Sequence[tuple[int, str, type, bytes]], custom_data: Mapping[str, str]
) -> None:
    """Write (time of arrival in ns, topic, message type, serialized) as a new MCAP bag.

    Raises OutputError where it cannot be written.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    for kind in {kind for _, _, kind, _ in messages}:
        for name, definition in _definitions(kind):
            if name not in store.fielddefs:
                store.register(get_types_from_msg(definition, name))
    try:
        writer = Writer(path, version=_BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        for key, value in custom_data.items():
            writer.set_custom_data(key, value)
        with writer:
            connections = {
                topic: writer.add_connection(topic, full_name(kind), typestore=store)
                for topic, kind in {topic: kind for _, topic, kind, _ in messages}.items()
            }
            for arrival_ns, topic, _, data in messages:
                writer.write(connections[topic], arrival_ns, data)
    except OSError as error:
        raise OutputError(f"cannot write the bag {path}: {error}") from error


def full_name(kind: type) -> str:
    """ROS's name of a message class, such as 'sensor_msgs/msg/Image'."""
    package = kind.__module__.partition(".")[0]
    return f"{package}/msg/{kind.__name__}"


def _definitions(kind: Any) -> Iterator[tuple[str, str]]:
    """Names and definitions of a message class and of the classes of its fields."""
    lines = []
    for field, written in kind.get_fields_and_field_types().items():
        sequence = _SEQUENCE.fullmatch(written)
        element = sequence["element"] if sequence else written.partition("[")[0]
        suffix = f"[<={sequence['bound']}]" if sequence and sequence["bound"] else "[]" if sequence else ""
        suffix = suffix or written[len(element) :]
        lines.append(f"{_PRIMITIVES.get(element, element)}{suffix} {field}")
        if "/" in element:
            yield from _definitions(message_class(element))
    yield full_name(kind), "\n".join(lines)


def message_class(type_name: str) -> type:
    """Message class of a name such as 'sensor_msgs/msg/Image'. Raises SetupError where it is not installed."""
    package, _, name = type_name.partition("/")
    try:
        found: type = getattr(importlib.import_module(f"{package}.msg"), name.rpartition("/")[2])
    except (ImportError, AttributeError) as error:
        raise SetupError(f"the bag holds messages of type {type_name}, which is not installed") from error
    return found
