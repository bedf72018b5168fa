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

from visloc_ros.core.errors import SourceError, VislocError
from visloc_ros.core.files import check_fetched
from visloc_ros.sources.base import BAG_METADATA, BAG_SUFFIXES, bag_stem

logger = logging.getLogger(__name__)

_IN_ADDRESSES = "#?%"  # have a meaning in the addresses by which rosbags opens SQLite files
_NEWEST_VERSION = 9  # of metadata that rosbags reads
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


def check_sqlite_name(path: Path, error: type[VislocError]) -> None:
    """Raise the error where rosbags would open another SQLite file than that of this path."""
    if set(_IN_ADDRESSES) & set(str(path)):
        raise error(f"SQLite cannot open {path} by its name: rename what holds {' or '.join(_IN_ADDRESSES)}")


def _storage_parts(path: Path) -> list[Path]:
    parts = [path] if path.is_file() else _storage_files(path)
    _check_parts(parts)
    if path.is_file():
        return parts
    if (path / BAG_METADATA).is_file():
        reason = _why_useless(path / BAG_METADATA) if parts else ""
    elif parts:
        reason = f"{path} has no {BAG_METADATA} (was its recording cut off?)"
    else:
        raise SourceError(f"{path} is no bag: it has neither {BAG_METADATA} nor a {' or '.join(BAG_SUFFIXES)} file")
    if not reason:
        return [path]
    logger.warning("%s: reading its storage files alone", reason)
    return parts


def _storage_files(folder: Path) -> list[Path]:
    """Storage files by name; a compressed one only where it was not unpacked beside itself."""
    found = {bag_stem(file): file for file in sorted(folder.iterdir(), reverse=True) if bag_stem(file)}
    return sorted(found.values())


def _why_useless(metadata: Path) -> str:
    """Why the metadata do not help to read the files beside them; empty where they do, or their reader reports it."""
    try:
        information = yaml.safe_load(metadata.read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        names = [Path(name).name for name in information["relative_file_paths"]]
        version = int(information["version"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return ""
    missing = [name for name in names if not (metadata.parent / name).exists()]
    if missing:
        return f"{metadata} names {missing[0]}, which is missing (was it renamed?)"
    return f"{metadata} is of version {version}, newer than is known here" if version > _NEWEST_VERSION else ""


def _check_parts(parts: list[Path]) -> None:
    """Refuse files that only stand for a bag, that rosbags cannot open, or of which it reads only a part."""
    for part in parts:
        check_fetched(part, SourceError)
    for part in (part for part in parts if part.suffix == ".db3"):
        check_sqlite_name(part, SourceError)
        journal = part.with_name(f"{part.name}-wal")
        if journal.is_file() and journal.stat().st_size:
            raise SourceError(
                f"{journal} holds messages that belong into {part.name} (was the recording cut off?): merge them with "
                f"'sqlite3 {part.name} \"pragma wal_checkpoint(truncate)\"'"
            )


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
