"""A map in one file: packed to ``reference.tar.gz``, unpacked with every member checked."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from visloc_ros.core.atomic_write import atomic_write, is_unfinished
from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.files import exists, is_file
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, check_files, read_manifest
from visloc_ros.core.map_layout import LISTS_NAME, PAGING_NAME, VERSIONS_FOLDER
from visloc_ros.core.temporary_folder import temporary_folder
from visloc_ros.core.unpacking import Contents, unpack_tar

REFERENCE_NAME = "reference.tar.gz"
_MAP = Contents("map", MapError, "copy it again")
SUFFIX = ".tar.gz"


def packed_in(path: Path) -> Path:
    """The archive of a folder that holds only a packed map; any other path itself."""
    archive = path / REFERENCE_NAME
    is_alone = is_file(archive) and not archive.is_symlink() and not exists(path / MANIFEST_NAME)
    return archive if is_alone and not any(path.glob("*.h5")) else path


def pack_map(folder: Path, archive: Path, *, overwrite: bool = False) -> Path:
    """Pack a map folder into a ``.tar.gz``; an existing archive is only replaced once the new one is whole.

    Raises MapError when the folder is no map, OutputError when the archive exists or cannot be written.
    """
    if not (folder / MANIFEST_NAME).is_file():
        raise MapError(f"{folder} has no {MANIFEST_NAME}: it is not a map, nothing to pack")
    if archive.exists() and not overwrite:
        raise OutputError(f"{archive} already exists: choose another name or allow overwriting")
    with atomic_write(archive) as temporary, tarfile.open(temporary, "w:gz", compresslevel=1) as tar:
        for path in members(folder, but_not=archive):
            tar.add(path, arcname=path.relative_to(folder).as_posix(), filter=_anonymous)
    return archive


def members(folder: Path, but_not: Path | None = None) -> list[Path]:
    """The files of a map's folder in order, without its earlier versions. Raises MapError for what is no file.

    They are without files that are made again when they are missing, and ``but_not`` an archive that lies among them.
    """
    versions = folder / VERSIONS_FOLDER
    everything = (path for path in folder.rglob("*") if not is_unfinished(path.relative_to(folder)))
    own = (path for path in everything if path != versions and versions not in path.parents)
    found = sorted(path for path in own if path.is_symlink() or not path.is_dir())
    strange = next((path for path in found if path.is_symlink() or not path.is_file()), None)
    if strange is not None:
        raise MapError(f"{strange} is no plain file, which a map consists of: put a copy of it in its place")
    left_out = {(folder / name).resolve() for name in (PAGING_NAME, LISTS_NAME)}
    left_out |= set() if but_not is None else {but_not.resolve()}
    return [path for path in found if path.resolve() not in left_out]


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Unpack a map to a temporary folder that lives as long as the block, and give the folder with its manifest.

    Only plain files and folders with relative names below the archive's root are taken. Raises MapError otherwise.
    """
    with _unpacked(archive, lambda _: True) as folder:
        yield _map_root(folder)


@contextmanager
def map_folder(path: Path) -> Iterator[Path]:
    """The folder of a map as long as the block lives: a folder as it is, an archive unpacked. Raises MapError."""
    path = packed_in(path)
    if path.is_file():
        with unpacked(path) as folder:
            yield folder
    else:
        yield path


def archived_manifest(archive: Path) -> Manifest:
    """The manifest of a packed map, without unpacking the rest. Raises MapError."""
    with _unpacked(archive, lambda name: name.name == MANIFEST_NAME) as folder:
        return read_manifest(_map_root(folder))


@contextmanager
def _unpacked(archive: Path, is_wanted: Callable[[PurePosixPath], bool]) -> Iterator[Path]:
    with temporary_folder("map") as folder:
        unpack_tar(archive, folder, _MAP, is_wanted)
        yield folder


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _map_root(folder: Path) -> Path:
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and (entries[0] / MANIFEST_NAME).exists():
        return entries[0]
    return folder


def export_map(source: Path, loaded: Manifest, archive: Path) -> int:
    """Pack the map that was loaded from ``source``, a folder or an archive, and give the bytes written.

    Nothing is overwritten. Raises ConfigError on a name that does not end in ``.tar.gz``, OutputError when the file
    exists or cannot be written, MapError when what lies at ``source`` now is not what was loaded.
    """
    if not archive.name.endswith(SUFFIX) or archive.name == SUFFIX:
        raise ConfigError(f"'{archive}' is no name for a packed map: end it in {SUFFIX}")
    if exists(archive):
        raise OutputError(f"{archive} already exists: choose another name")
    if is_file(source):
        with unpacked(source) as folder:
            _check_same(source, folder, loaded)
        with atomic_write(archive) as temporary:
            shutil.copyfile(source, temporary)
    else:
        _check_same(source, source, loaded)
        pack_map(source, archive)
    return archive.stat().st_size


def _check_same(source: Path, folder: Path, loaded: Manifest) -> None:
    if not (folder / MANIFEST_NAME).is_file():
        raise MapError(
            f"{source} has no {MANIFEST_NAME}: it is gone, or a map of stock hloc, which 'visloc import-hloc' converts"
        )
    if read_manifest(folder) != loaded:
        raise MapError(f"{source} is another map now than when it was loaded: load it again")
    check_files(folder, loaded, checksums=True)
