"""A map in one file: packed to ``reference.tar.gz``, unpacked with every member checked."""

from __future__ import annotations

import errno
import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from visloc_ros.core.atomic_write import atomic_write, is_unfinished
from visloc_ros.core.errors import MapError, OutputError
from visloc_ros.core.files import LARGEST_MODEL_BYTES, check_file, exists, is_file
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, read_manifest

REFERENCE_NAME = "reference.tar.gz"

# What an archive may unpack to grows with it: a map's arrays are packed already, its text to a tenth.
_LARGEST_RATIO, _FREE_BYTES = 20, 64 << 20
_BYTES_PER_MEMBER, _FREE_MEMBERS = 256, 1000
_LONGEST_HEADER = 64 << 10  # of a long name or of extended attributes
_BLOCK = 1 << 20


class _PlainMember(tarfile.TarInfo):
    """A member whose header is short: those of gigabytes would be read into memory before anybody sees them."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        is_file = self.type in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE)
        if not is_file and self.size > _LONGEST_HEADER:
            raise tarfile.ReadError("it holds a header that no map has")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


class _Budget:
    """Reads a stream as far as it may unpack to. Raises ReadError beyond."""

    def __init__(self, stream: IO[bytes], left_bytes: int) -> None:
        self._stream, self._left_bytes = stream, left_bytes

    def read(self, size: int) -> bytes:
        """Bytes from the stream, at most so many."""
        data = self._stream.read(size)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise tarfile.ReadError("it unpacks to more than a map can hold: do not trust it")
        return data


def packed_in(path: Path) -> Path:
    """The archive of a folder that holds a map packed and nothing else of one; of any other path the path itself."""
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
        for path in _members(folder, but_not=archive):
            tar.add(path, arcname=path.relative_to(folder).as_posix(), filter=_anonymous)
    return archive


def _members(folder: Path, but_not: Path) -> list[Path]:
    """Files of a map folder in order; the archive itself may lie among them. Raises MapError for what is no file."""
    everything = (path for path in folder.rglob("*") if not is_unfinished(path.relative_to(folder)))
    found = sorted(path for path in everything if path.is_symlink() or not path.is_dir())
    strange = next((path for path in found if path.is_symlink() or not path.is_file()), None)
    if strange is not None:
        raise MapError(f"{strange} is no plain file: put a copy of it in its place, then pack the map")
    return [path for path in found if path.resolve() != but_not.resolve()]


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
    """The manifest of a packed map, and nothing else of it. Raises MapError."""
    with _unpacked(archive, lambda name: name.name == MANIFEST_NAME) as folder:
        return read_manifest(_map_root(folder))


@contextmanager
def _unpacked(archive: Path, is_wanted: Callable[[PurePosixPath], bool]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="visloc-map-") as name:
        folder = Path(name)
        try:
            with _unpacking(archive) as tar:
                _extract(archive, tar, folder, is_wanted)
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise MapError(f"cannot unpack {archive} to {folder}: {error.strerror}") from error
            raise MapError(f"{archive} is not a map, or truncated or broken ({error}): copy it again") from error
        except ValueError as error:
            raise MapError(f"{archive} is broken ({error}): copy it again") from error
        yield folder


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


@contextmanager
def _unpacking(archive: Path) -> Iterator[tarfile.TarFile]:
    """The members of an archive, packed or plain, one after the other and no more bytes of them than may be."""
    check_file(archive, MapError, LARGEST_MODEL_BYTES)
    most = _most_bytes(archive)
    with archive.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        plain: IO[bytes] = gzip.GzipFile(fileobj=file) if is_packed else file  # type: ignore[assignment]
        with tarfile.open(fileobj=_Budget(plain, most), mode="r|", tarinfo=_PlainMember) as tar:  # type: ignore[call-overload]
            yield tar


def _most_bytes(archive: Path) -> int:
    return _FREE_BYTES + _LARGEST_RATIO * archive.stat().st_size


def _extract(archive: Path, tar: tarfile.TarFile, folder: Path, is_wanted: Callable[[PurePosixPath], bool]) -> None:
    most_members = _FREE_MEMBERS + archive.stat().st_size // _BYTES_PER_MEMBER
    for number, member in enumerate(tar):
        if number >= most_members or member.size > _most_bytes(archive):
            raise MapError(f"{archive} unpacks to more than a map can hold: do not trust it")
        name = _checked_name(archive, member)
        if not is_wanted(name):
            continue
        target = folder / name
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
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise MapError(
            f"{archive}: the member '{member.name}' is a link, a device or sparse: do not trust this archive"
        )
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
