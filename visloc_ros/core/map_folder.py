"""The maps in a folder, by their manifests alone."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from visloc_ros.core.atomic_write import scratch_folder
from visloc_ros.core.errors import ConfigError, OutputError, VislocError
from visloc_ros.core.files import is_file, is_folder
from visloc_ros.core.hloc_layout import FEATURES_PREFIX
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest
from visloc_ros.core.map import find_files
from visloc_ros.core.map_archive import archived_manifest, packed_in
from visloc_ros.core.map_layout import FEATURES_NAME
from visloc_ros.core.map_lock import changing

ARCHIVE_SUFFIX = ".tar.gz"
_MOST_MAPS = 1000  # listed in a folder: one with more is no folder of maps


@dataclass(frozen=True)
class MapEntry:
    """A map folder or archive: its manifest, or why it cannot be read, and its bytes on disk."""

    path: Path
    manifest: Manifest | None
    problem: str
    size: int


def list_maps(folder: Path) -> list[MapEntry]:
    """The maps that lie directly in a folder, by name; broken ones, too. Raises ConfigError where it cannot be read.

    Sizes and contents of the files are compared with the manifest only when a map is opened.
    """
    try:
        paths = sorted(islice(folder.iterdir(), _MOST_MAPS))
    except OSError as error:
        raise ConfigError(f"cannot list the maps in {folder}: {error.strerror}") from error
    return [read_entry(path) for path in paths if _may_be_map(path)]


def find_map(folder: Path, name: str) -> MapEntry | None:
    """One map of a folder by the name of its folder or archive. Raises ConfigError where it cannot be read."""
    try:
        path = next((path for path in folder.iterdir() if path.name == name), None)
    except OSError as error:
        raise ConfigError(f"cannot list the maps in {folder}: {error.strerror}") from error
    return None if path is None or not _may_be_map(path) else read_entry(path)


def remove_map(path: Path) -> None:
    """Delete a map's folder or archive, at once or not at all; of a folder with a packed map, the archive.

    Raises OutputError, MapBusyError while another process changes the map.
    """
    given, path = path, packed_in(path)
    if path.is_symlink():
        raise OutputError(f"{path} is a link: remove the link, or give the map that it leads to")
    try:
        with changing(given), scratch_folder(path) as folder:
            path.rename(folder / path.name)
    except OSError as error:
        raise OutputError(f"cannot delete {path}: {error.strerror}") from error


def path_within(folder: Path, name: str) -> Path:
    """The path of a map, or of an archive to be, by its name in a folder or its absolute path below it.

    Raises ConfigError where it leads out of the folder, over links, too.
    """
    try:
        path, root = (folder / name).resolve(), folder.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"'{name}' is no path: give the name of a map in {folder}") from error
    if path == root or not path.is_relative_to(root):
        raise ConfigError(f"'{name}' leads out of {folder}: move the map into it, or use the folder where it lies")
    return path


def _may_be_map(path: Path) -> bool:
    if is_folder(path):
        own = is_file(path / MANIFEST_NAME) or is_file(path / FEATURES_NAME) or packed_in(path) != path
        return own or any(path.glob(f"{FEATURES_PREFIX}*.h5"))
    return path.name.endswith(ARCHIVE_SUFFIX) and is_file(path)


def read_entry(path: Path) -> MapEntry:
    """The entry of one path, which may be no map."""
    try:
        packed = packed_in(path)
        path_within(path.parent, packed.relative_to(path.parent).as_posix())
        is_archive = is_file(packed)
        manifest = archived_manifest(packed) if is_archive else find_files(path, checksums=False)[1]
        size = sum(_sizes(packed))
    except VislocError as error:
        return MapEntry(path, None, str(error), 0)
    except OSError as error:
        return MapEntry(path, None, f"cannot read {error.filename or path}: {error.strerror or error}", 0)
    return MapEntry(path, manifest, "", size)


def _sizes(path: Path) -> Iterator[int]:
    if is_file(path):
        yield path.stat().st_size
    for item in path.rglob("*") if is_folder(path) else ():
        status = item.lstat()
        if stat.S_ISREG(status.st_mode):
            yield status.st_size
