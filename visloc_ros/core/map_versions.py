"""Earlier versions of a map, kept in its folder: each opens as a map, and can take the present one's place again.

``MAP/versions/N`` contains version N, whose number is in its manifest. Files are hard links, so that a version costs
the space of the files that have changed since. Files that are made again when they are missing are left out.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visloc_ros.core.atomic_write import atomic_folder, restore
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.files import is_file
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, check_files, read_manifest
from visloc_ros.core.map import Map
from visloc_ros.core.map_archive import packed_in
from visloc_ros.core.map_layout import LISTS_NAME, PAGING_NAME, VERSIONS_FOLDER

_SAME_POSE = 1e-9  # map units, radians: versions store the same numbers
MOST_VERSIONS = 8
"""Kept beside the present one: two months of weekly updates. Each may take as much space as the map."""


@dataclass(frozen=True)
class MapVersion:
    """One version of a map: its manifest, the folder where it opens, and whether it is the present one."""

    manifest: Manifest
    folder: Path
    is_present: bool

    @property
    def number(self) -> int:
        """Its number, from 1 on."""
        return self.manifest.version


def list_versions(path: Path) -> list[MapVersion]:
    """All versions of a map's folder by number, the present one among them. Raises MapError."""
    _check_folder(path)
    found = [MapVersion(read_manifest(path), path, is_present=True)]
    found += [MapVersion(read_manifest(folder), folder, is_present=False) for folder in _folders(path)]
    return sorted(found, key=lambda version: version.number)


def next_version(path: Path) -> int:
    """The number of a new version: no number is used twice, also after a rollback."""
    return max(version.number for version in list_versions(path)) + 1


def keep_versions(path: Path, folder: Path, but_not: int | None = None) -> None:
    """Link the present map and its earlier versions into ``folder/versions``, the map that will take its place.

    Of more than ``MOST_VERSIONS``, those of the lowest numbers are left out; so is the one of the number ``but_not``.
    """
    for version in [one for one in list_versions(path) if one.number != but_not][-MOST_VERSIONS:]:
        _link(version.folder, folder / VERSIONS_FOLDER / str(version.number))


def roll_back(path: Path, number: int | None = None) -> Manifest:
    """Put version ``number``, by default the one before the present, in the place of the present one, which is kept.

    The files of the map are then those of that version to the byte. Raises ConfigError where there is no such version,
    MapError where it is damaged, OutputError where the folder cannot be written.
    """
    versions = list_versions(path)
    chosen = _choose(versions, number, path)
    check_files(chosen.folder, chosen.manifest, checksums=True)
    with atomic_folder(path) as folder:
        _link(chosen.folder, folder)
        for version in versions:
            if version is not chosen:
                _link(version.folder, folder / VERSIONS_FOLDER / str(version.number))
    return chosen.manifest


def version_mark(path: Path) -> tuple[int, int, int] | None:
    """Identifies what lies in a map's place, so that a running program notices another version; None for no map."""
    try:
        packed = packed_in(path)
        status = os.stat(packed if is_file(packed) else path / MANIFEST_NAME)
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def are_versions(one: Map, other: Map) -> bool:
    """Whether two maps are versions of one, in the same frame: the images that both have are at the same poses."""
    poses = {image.name: image.map_from_camera for image in one.images}
    common = [(poses[image.name], image.map_from_camera) for image in other.images if image.name in poses]
    same = all(np.abs(mine.matrix - its.matrix).max() <= _SAME_POSE for mine, its in common)
    return one.name == other.name and bool(common) and same


def _choose(versions: list[MapVersion], number: int | None, path: Path) -> MapVersion:
    present = next(version for version in versions if version.is_present)
    if number is None:
        earlier = [version for version in versions if version.number < present.number]
        if not earlier:
            raise ConfigError(f"{path} is version {present.number} of the map, and has no earlier one to go back to")
        return earlier[-1]
    if number == present.number:
        raise ConfigError(f"{path} is version {number} already")
    chosen = next((version for version in versions if version.number == number), None)
    if chosen is None:
        known = ", ".join(str(version.number) for version in versions)
        raise ConfigError(f"{path} has no version {number}: choose one of {known}")
    return chosen


def _check_folder(path: Path) -> None:
    restore(path)
    if not is_file(path / MANIFEST_NAME):
        raise MapError(f"{path} is no folder of a map of this package: unpack an archive, convert a map of stock hloc")


def _folders(path: Path) -> list[Path]:
    root = path / VERSIONS_FOLDER
    return [folder for folder in root.iterdir() if is_file(folder / MANIFEST_NAME)] if root.is_dir() else []


def _link(source: Path, target: Path) -> None:
    """Hard links to a version's files, or copies where the file system has none."""
    left_out = {VERSIONS_FOLDER, PAGING_NAME, LISTS_NAME}
    shutil.copytree(
        source,
        target,
        symlinks=True,
        dirs_exist_ok=True,
        copy_function=link_or_copy,
        ignore=lambda folder, names: left_out & set(names) if Path(folder) == source else set(),
    )


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """A hard link to a file, or a copy where the file system has none."""
    with suppress(OSError):
        os.link(source, target, follow_symlinks=False)
        return
    shutil.copy2(source, target)
