"""A map in one file: packed to ``reference.tar.gz``, unpacked with every member checked."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import MapError, OutputError
from visloc_ros.core.manifest import MANIFEST_NAME

_MAX_MEMBERS = 200_000
_MAX_UNPACKED_BYTES = 64 << 30
_BLOCK = 1 << 20


def pack_map(folder: Path, archive: Path, *, overwrite: bool = False) -> Path:
    """Pack a map folder into a ``.tar.gz``; an existing archive is only replaced once the new one is whole.

    Raises MapError when the folder is no map, OutputError when the archive exists or cannot be written.
    """
    if not (folder / MANIFEST_NAME).is_file():
        raise MapError(f"{folder} has no {MANIFEST_NAME}: it is not a map, nothing to pack")
    if archive.exists() and not overwrite:
        raise OutputError(f"{archive} already exists: choose another name or allow overwriting")
    with atomic_write(archive) as temporary, tarfile.open(temporary, "w:gz", compresslevel=1) as tar:
        for path in _members(folder, but_not=(archive, temporary)):
            tar.add(path, arcname=path.relative_to(folder).as_posix(), filter=_anonymous)
    return archive


def _members(folder: Path, but_not: tuple[Path, ...]) -> list[Path]:
    """Files of a map folder in order; the archive itself may lie among them."""
    left_out = {path.resolve() for path in but_not}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.resolve() not in left_out)


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Unpack a map to a temporary folder that lives as long as the block, and give the folder with its manifest.

    Only plain files and folders with relative names below the archive's root are taken. Raises MapError otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="visloc-map-") as name:
        folder = Path(name)
        try:
            with tarfile.open(archive, "r:*") as tar:
                _extract(archive, tar, folder)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise MapError(f"{archive} is not a map, or truncated or broken ({error}): copy it again") from error
        except ValueError as error:
            raise MapError(f"{archive} is broken ({error}): copy it again") from error
        yield _map_root(folder)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _extract(archive: Path, tar: tarfile.TarFile, folder: Path) -> None:
    unpacked_bytes = 0
    for number, member in enumerate(tar):
        unpacked_bytes += member.size
        if number >= _MAX_MEMBERS or unpacked_bytes > _MAX_UNPACKED_BYTES:
            raise MapError(f"{archive} unpacks to more than a map can hold: do not trust it")
        target = folder / _checked_name(archive, member)
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        source = tar.extractfile(member)
        if source is None:
            raise MapError(f"{archive}: '{member.name}' cannot be read: do not trust this archive")
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(archive, member, source, target)


def _checked_name(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        raise MapError(f"{archive}: the member '{member.name}' points outside the map: do not trust this archive")
    if not (member.isreg() or member.isdir()):
        raise MapError(f"{archive}: the member '{member.name}' is a link or device: do not trust this archive")
    return name


def _copy(archive: Path, member: tarfile.TarInfo, source: IO[bytes], target: Path) -> None:
    written = 0
    with target.open("xb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            file.write(block)
    if written != member.size:
        raise MapError(f"{archive} ends in the middle of '{member.name}': copy it again")


def _map_root(folder: Path) -> Path:
    entries = list(folder.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and (entries[0] / MANIFEST_NAME).exists():
        return entries[0]
    return folder
