"""Messages of a ROS 2 bag, serialized or as objects, through the rosbags library; no ROS is needed."""

from __future__ import annotations

import heapq
import re
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from visloc_ros.core.errors import SourceError, VislocError
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.sources.bag_storage import opened, unpacked_message
from visloc_ros.sources.base import BAG_METADATA

_STAMP_BEGIN = 4  # of CDR: the bytes of the encapsulation; the second of them is odd where numbers are little-endian
_UNKNOWN = re.compile(r"(version|plugin|format) .*not supported|Profile is not ros2")  # in what rosbags reports


class BagTopic(NamedTuple):
    """Message type of a topic and how many messages the bag holds of it."""

    msgtype: str
    num_messages: int


class SerializedMessage(NamedTuple):
    """A message as recorded: time of reception in nanoseconds, topic, type, CDR bytes with their header."""

    receive_time_ns: int
    topic: str
    msgtype: str
    data: bytes

    @property
    def stamp_ns(self) -> int:
        """Stamp of a message that begins with a header; 0 where its bytes end before, as where it was not set."""
        if len(self.data) < _STAMP_BEGIN + 8:
            return 0
        seconds, nanoseconds = struct.unpack_from("<iI" if self.data[1] & 1 else ">iI", self.data, _STAMP_BEGIN)
        return int(seconds) * NANOSECONDS + int(nanoseconds)

    @property
    def after_stamp(self) -> bytes:
        """What follows the stamp of a message that begins with a header."""
        return self.data[_STAMP_BEGIN + 8 :]


def list_topics(path: Path) -> dict[str, BagTopic]:
    """Topics of a bag by name. Raises SourceError when the bag cannot be read."""
    topics: dict[str, BagTopic] = {}
    with _translated_errors(path), opened(path) as readers:
        for connection in (connection for reader in readers for connection in reader.connections):
            known = topics.get(connection.topic, BagTopic(connection.msgtype, 0))
            topics[connection.topic] = BagTopic(known.msgtype, known.num_messages + connection.msgcount)
    return dict(sorted(topics.items()))


def iterate_serialized(path: Path, topics: Collection[str] | None = None) -> Iterator[SerializedMessage]:
    """Walk over the messages in order of reception without decoding them; ``None`` takes every topic.

    The bytes are what an rclpy publisher of that type publishes as they are. Raises SourceError when the bag cannot
    be read or lacks a topic.
    """
    with _translated_errors(path), opened(path) as readers:
        _check_topics(path, readers, topics or ())
        streams = [_read_messages(reader, topics) for reader in readers]
        yield from heapq.merge(*streams, key=lambda message: message.receive_time_ns)


def iterate_bag_messages(path: Path, topics: Collection[str] | None = None) -> Iterator[tuple[int, str, Any]]:
    """Walk over (time of reception in ns, topic, message); fields are named as in ROS. Raises SourceError."""
    for message in iterate_serialized(path, topics):
        yield message.receive_time_ns, message.topic, deserialize(message)


def deserialize(message: SerializedMessage) -> Any:
    """Decode a message of one of ROS 2's own types. Raises SourceError on another type or on damaged bytes."""
    store = typestore()
    if message.msgtype not in store.fielddefs:
        raise SourceError(f"the type {message.msgtype} of {message.topic} is not one of ROS 2's own")
    try:
        return store.deserialize_cdr(message.data, message.msgtype)
    except Exception as error:  # rosbags lets errors of struct and NumPy through
        raise SourceError(f"a message of {message.topic} is damaged: {error}") from error


def iterate_with_definitions(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Walk over (topic, type, message) in order of reception, of all types that the bag itself defines.

    Raises SourceError when the bag cannot be read, or holds a type that neither it nor ROS 2 defines.
    """
    with _translated_errors(path), opened(path) as readers:
        store = get_typestore(Stores.ROS2_JAZZY)
        for connection in (connection for reader in readers for connection in reader.connections):
            if connection.msgtype not in store.fielddefs:
                if not connection.msgdef.data:
                    raise SourceError(f"{path} does not define {connection.msgtype}: record it as MCAP")
                store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        streams = [_read_messages(reader, None) for reader in readers]
        for message in heapq.merge(*streams, key=lambda message: message.receive_time_ns):
            yield message.topic, message.msgtype, store.deserialize_cdr(message.data, message.msgtype)


def read_custom_data(path: Path) -> dict[str, str]:
    """The recorder's own entries in the metadata of a bag folder. Raises SourceError."""
    metadata = path / BAG_METADATA
    try:
        information = yaml.safe_load(metadata.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        return dict(information.get("custom_data") or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise SourceError(f"cannot read {metadata}: {error}") from error


def header_stamp_ns(message: Any) -> int:
    """Stamp of a message's header in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """Message types of the reference distribution; those used here are the same from Foxy on."""
    return get_typestore(Stores.ROS2_JAZZY)


def _read_messages(reader: Reader, topics: Collection[str] | None) -> Iterator[SerializedMessage]:
    connections = [item for item in reader.connections if topics is None or item.topic in topics]
    if connections:
        for connection, receive_time_ns, data in reader.messages(connections):
            yield SerializedMessage(
                receive_time_ns, connection.topic, connection.msgtype, unpacked_message(bytes(data))
            )


def _check_topics(path: Path, readers: list[Reader], topics: Collection[str]) -> None:
    known = sorted({connection.topic for reader in readers for connection in reader.connections})
    missing = [topic for topic in topics if topic not in known]
    if missing:
        raise SourceError(f"{path} has no topic {', '.join(missing)}; it has {', '.join(known) or 'none at all'}")


@contextmanager
def _translated_errors(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file raises inside rosbags (struct, SQLite, YAML, zstd errors) into a SourceError."""
    try:
        yield
    except VislocError:
        raise
    except Exception as error:
        if _UNKNOWN.search(str(error)):
            reason = str(error).removesuffix(".").removesuffix("; please report issue")
            raise SourceError(
                f"the bag {path} is of a kind that is not read ({reason}): record it as MCAP, or make it so by "
                "'ros2 bag convert' or 'rosbags-convert'"
            ) from error
        raise SourceError(
            f"the bag {path} is truncated or damaged ({error or type(error).__name__}): "
            "repair it with 'mcap recover' or 'ros2 bag reindex'"
        ) from error
