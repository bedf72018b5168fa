"""The storage files of a ROS 2 bag: which ones hold its messages, compressed as whole files or not.

A bag is a folder with metadata.yaml, a folder whose metadata.yaml was lost or names other files, or one storage file.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
import zstandard
from rosbags.rosbag2 import Reader

from visloc_ros.core.errors import SourceError
from visloc_ros.sources.base import BAG_METADATA, BAG_SUFFIXES, bag_stem

logger = logging.getLogger(__name__)

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # a serialized message begins with a zero byte


@contextmanager
def opened(path: Path) -> Iterator[list[Reader]]:
    """Readers of all storage files of a bag; compressed ones are unpacked into a temporary folder meanwhile."""
    with ExitStack() as stack:
        parts = _storage_parts(path)
        if any(part.is_file() and part.suffix not in BAG_SUFFIXES for part in parts):
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="visloc_bag_")))
            parts = [_unpacked(part, folder) for part in parts]
        yield [stack.enter_context(Reader(part)) for part in parts]


def unpacked_message(data: bytes) -> bytes:
    """A serialized message, decompressed where it was recorded by 'ros2 bag record --compression-mode message'."""
    if not data.startswith(_ZSTD_MAGIC):
        return data
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def _storage_parts(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    parts = _storage_files(path)
    if (path / BAG_METADATA).is_file():
        missing = [name for name in _names_in_metadata(path / BAG_METADATA) if not (path / name).exists()]
        if not parts or not missing:
            return [path]
        logger.warning("%s names %s, which is missing: reading %s", path / BAG_METADATA, missing[0], parts[0].name)
        return parts
    if not parts:
        raise SourceError(f"{path} is no bag: it has neither {BAG_METADATA} nor a {' or '.join(BAG_SUFFIXES)} file")
    logger.warning("%s has no %s (was its recording cut off?): reading its storage files alone", path, BAG_METADATA)
    return parts


def _storage_files(folder: Path) -> list[Path]:
    """Storage files by name; a compressed one only where it was not unpacked beside itself."""
    found = {bag_stem(file): file for file in sorted(folder.iterdir(), reverse=True) if bag_stem(file)}
    return sorted(found.values())


def _names_in_metadata(metadata: Path) -> list[str]:
    """Names of the storage files; none where the metadata are damaged, which their reader reports."""
    try:
        information = yaml.safe_load(metadata.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        return [Path(name).name for name in information["relative_file_paths"]]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return []


def _unpacked(part: Path, folder: Path) -> Path:
    if part.suffix in BAG_SUFFIXES:
        return part
    unpacked = folder / Path(part.name).with_suffix("")
    try:
        with part.open("rb") as packed, unpacked.open("wb") as whole:
            shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True), whole)
    except OSError as error:
        raise SourceError(
            f"cannot unpack {part} to {folder}: {error.strerror}; unpack it yourself, or set TMPDIR to a larger folder"
        ) from error
    return unpacked
