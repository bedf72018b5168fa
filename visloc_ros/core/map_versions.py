"""Versions of a map, kept in its folder: each opens as a map, and can take the present one's place again.

``MAP/versions/N`` contains version N, whose number is in its manifest. Files are hard links, so that a version costs
the space of the files that have changed since. Files that are made again when they are missing are left out. Each
version knows by its ``history`` which ones it was made of, so that versions are a tree: going back goes to the parent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from visloc_ros.core.atomic_write import atomic_folder, read_whole
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.files import check_within, is_file
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, made_of, read_manifest
from visloc_ros.core.map import open_map
from visloc_ros.core.map_archive import packed_in
from visloc_ros.core.map_layout import LISTS_NAME, PAGING_NAME, VERSIONS_FOLDER
from visloc_ros.core.map_lock import changing
from visloc_ros.core.map_writer import staged_folder

MOST_VERSIONS = 8
"""Kept beside the present one: two months of weekly updates. Each may take as much space as the map."""

Step = tuple[int, str]
"""A version in a history: its number, and the id of its model."""


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

    @property
    def step(self) -> Step:
        """What the histories of later versions call it."""
        return self.number, self.manifest.model_id

    @property
    def ancestors(self) -> list[Step]:
        """The versions that it was made of, the first one first."""
        return _steps(self.manifest)


@dataclass(frozen=True)
class DamagedVersion:
    """A folder of an earlier version that cannot be used, and the ``problem``: why not, and what to do."""

    folder: Path
    problem: str


def list_versions(path: Path) -> list[MapVersion]:
    """All usable versions of a map's folder by number, the present one among them. Raises MapError."""
    return _read_versions(path)[0]


def list_damaged(path: Path, *, checksums: bool = False) -> list[DamagedVersion]:
    """The versions that cannot be used, also those whose files were altered with ``checksums``. Raises MapError."""
    versions, damaged = _read_versions(path)
    for version in versions if checksums else ():
        try:
            if not version.is_present:
                _check_whole(version.folder)
        except MapError as error:
            damaged.append(DamagedVersion(version.folder, str(error)))
    return damaged


def parent_of(versions: Sequence[MapVersion], manifest: Manifest) -> MapVersion | None:
    """The version that a map was made of, or if that is gone, the nearest before it that is still there."""
    known = {version.step: version for version in versions}
    return next((known[step] for step in reversed(_steps(manifest)) if step in known), None)


def next_version(path: Path) -> int:
    """The number of a new version: no number is used twice, also after a rollback."""
    versions = list_versions(path)
    in_histories = [number for version in versions for number, _ in version.ancestors]
    folders = [int(folder.name) for folder in _folders(path) if folder.name.isdecimal() and len(folder.name) < 7]
    return max([version.number for version in versions] + in_histories + folders) + 1


def successor(manifest: Manifest, path: Path, parent: Manifest, change: str) -> Manifest:
    """The manifest of the next version of the map in a folder, which a ``change`` has made of ``parent``."""
    has_versions = is_file(path / MANIFEST_NAME)  # a folder of stock hloc has none
    number = next_version(path) if has_versions else parent.version + 1
    return replace(made_of(manifest, parent, change), version=number)


@contextmanager
def changed_folder(path: Path, before: Manifest, output: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a new folder, which becomes ``output``, for what is made of the map ``before``, read from a folder.

    Where ``output`` is that folder itself, the map as it was stays there as an earlier version. Who holds the lock of
    the output since the map was read (``core/map_lock.py``) loses no work to others. Raises OutputError, and MapError
    where the folder has another map now than it had.
    """
    is_same = is_in_place(path, output)
    with staged_folder(output, overwrite=overwrite, keeps_versions=is_same) as folder:
        if is_same and read_manifest(path) != before:
            raise MapError(f"{path} is another map now than when its change began: do it again")
        yield folder
        if is_same:
            keep_versions(path, folder)


def is_in_place(path: Path, output: Path) -> bool:
    """Whether what is made of a map takes its place."""
    return path.resolve() == output.resolve()


def keep_versions(path: Path, folder: Path) -> None:
    """Link the present map and its earlier versions into ``folder/versions``, the map that will take its place.

    Of more than ``MOST_VERSIONS``, the present one stays, then those that the new map was made of, the last one first;
    what was gone back from is dropped first. A version of the new map's number makes room for it.
    """
    new = read_manifest(folder)
    versions = [version for version in list_versions(path) if version.number != new.version]
    _link_versions(_most_needed(versions, new), path, folder)


def link_all_versions(path: Path, folder: Path) -> None:
    """Link the earlier versions of a map into ``folder/versions``, the same version of that map with other files."""
    _link_versions([version for version in list_versions(path) if not version.is_present], path, folder)


def roll_back(path: Path, number: int | None = None) -> Manifest:
    """Put version ``number``, by default the parent of the present one, in the place of that, which is kept.

    The files of the map are then those of that version to the byte. Raises ConfigError where there is no such version,
    MapError where it is damaged, OutputError where the folder cannot be written, MapBusyError.
    """
    list_versions(path)  # no folder is made for one that is no map's
    with changing(path), atomic_folder(path) as folder:
        versions = list_versions(path)
        chosen = _choose(versions, number, path)
        _check_whole(chosen.folder)
        _link(chosen.folder, folder)
        _link_versions([version for version in versions if version is not chosen], path, folder)
    return chosen.manifest


def version_mark(path: Path) -> tuple[int, int, int] | None:
    """Identifies what lies in a map's place, so that a running program notices another version; None for no map."""
    try:
        packed = packed_in(path)
        status = os.stat(packed if is_file(packed) else path / MANIFEST_NAME)
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _most_needed(versions: Sequence[MapVersion], new: Manifest) -> list[MapVersion]:
    """As many versions as are kept, by how much a ``new`` one needs them."""
    age = {step: age for age, step in enumerate(reversed(_steps(new)))}
    last = max([new.version, *(version.number for version in versions)])  # the next number is one more

    def need(version: MapVersion) -> tuple[bool, bool, int, int]:
        is_last = version.number == last
        return not version.is_present, not is_last, age.get(version.step, len(age)), -version.number

    return sorted(versions, key=need)[:MOST_VERSIONS]


def _choose(versions: Sequence[MapVersion], number: int | None, path: Path) -> MapVersion:
    present = next(version for version in versions if version.is_present)
    known = ", ".join(str(version.number) for version in versions)
    if number is None:
        parent = parent_of(versions, present.manifest)
        if parent is None:
            rest = f"; choose one of {known}" if len(versions) > 1 else ""
            raise ConfigError(
                f"{path} is version {present.number}, and no earlier one that it was made of is there{rest}"
            )
        return parent
    if number == present.number:
        raise ConfigError(f"{path} is version {number} already")
    for damaged in list_damaged(path):
        if damaged.folder.name == str(number):
            raise MapError(damaged.problem)
    chosen = next((version for version in versions if version.number == number), None)
    if chosen is None:
        raise ConfigError(f"{path} has no version {number}: choose one of {known}")
    return chosen


def _check_folder(path: Path) -> None:
    if not is_file(path / MANIFEST_NAME):
        raise MapError(f"{path} is no folder of a map of this package: unpack an archive, convert a map of stock hloc")
    check_within(path / MANIFEST_NAME, path, MapError)


def _read_versions(path: Path) -> tuple[list[MapVersion], list[DamagedVersion]]:
    return read_whole(path, lambda: _read_present_and_earlier(path))


def _read_present_and_earlier(path: Path) -> tuple[list[MapVersion], list[DamagedVersion]]:
    _check_folder(path)
    present = MapVersion(read_manifest(path), path, is_present=True)
    versions, damaged = [present], []
    for folder in _folders(path):
        try:
            versions.append(_read_version(folder, present))
        except MapError as error:
            damaged.append(DamagedVersion(folder, str(error)))
    return sorted(versions, key=lambda version: version.number), damaged


def _folders(path: Path) -> list[Path]:
    """What lies in the folder of versions and may be one; that folder itself if it is a link."""
    root = path / VERSIONS_FOLDER
    if root.is_symlink():
        return [root]
    found = sorted(root.iterdir()) if root.is_dir() else []
    return [folder for folder in found if folder.name.isdecimal() or is_file(folder / MANIFEST_NAME)]


def _read_version(folder: Path, present: MapVersion) -> MapVersion:
    """An earlier version of the same map as the present one. Raises MapError, which says what to do."""
    if folder.is_symlink() or not folder.is_dir():
        raise MapError(f"{folder} is a link or a file, no folder: put the folder itself in its place, or delete it")
    try:
        if (folder / MANIFEST_NAME).is_symlink():
            raise MapError(f"its {MANIFEST_NAME} is a link")
        version = MapVersion(read_manifest(folder), folder, is_present=False)
    except MapError as error:
        raise _damaged(folder, error) from error
    if folder.name != str(version.number):
        raise MapError(f"{folder} holds version {version.number}: give the folder that name, or delete it")
    if version.number == present.number:
        raise MapError(f"{folder} has the number of the present version: delete it")
    if not _is_kin(version, present):
        raise MapError(f"{folder} is of another map, '{version.manifest.name}': move it out of {present.folder}")
    return version


def _is_kin(one: MapVersion, other: MapVersion) -> bool:
    """Whether two versions are of one map: of frames that a transform is known between, or with a common history."""
    has_transform = one.manifest.frame.from_frame(other.manifest.frame) is not None
    return has_transform or not {*one.ancestors, one.step}.isdisjoint({*other.ancestors, other.step})


def _check_whole(folder: Path) -> None:
    """Raise MapError unless a version is plain files, equal to their checksums, of a whole map."""
    try:
        _check_plain(sorted(folder.rglob("*")))
        open_map(folder, whole=True)
    except MapError as error:
        raise _damaged(folder, error) from error


def _check_plain(paths: Iterable[Path]) -> None:
    """Raise MapError where something is neither a file nor a folder."""
    strange = next((path for path in paths if path.is_symlink() or not (path.is_dir() or is_file(path))), None)
    if strange is not None:
        raise MapError(f"{strange} is no plain file, but a link, a pipe or a device")


def _damaged(folder: Path, error: MapError) -> MapError:
    return MapError(f"{folder} is damaged ({error}): bring its files back from a copy, or delete it")


def _steps(manifest: Manifest) -> list[Step]:
    return [(step["version"], step["model_id"]) for step in manifest.history]


def _link_versions(versions: Sequence[MapVersion], path: Path, folder: Path) -> None:
    """Link versions of a map into the versions of a folder, and damaged ones, which may be mended; but no links."""
    root = folder / VERSIONS_FOLDER
    for version in versions:
        _link(version.folder, root / str(version.number))
    for one in (damaged.folder for damaged in list_damaged(path) if damaged.folder.is_dir()):
        if not one.is_symlink():
            taken = (root / one.name).exists()
            _link(one, root / (f"{one.name}_damaged" if taken else one.name))


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
