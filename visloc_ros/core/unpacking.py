"""Untrusted archives: only plain files below one folder, and no more data than the archive's size explains."""

from __future__ import annotations

import errno
import gzip
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from visloc_ros.core.errors import VislocError
from visloc_ros.core.files import LARGEST_MODEL_BYTES, check_file

# What an archive may unpack to grows with it: arrays and images are packed already, text to a tenth.
_LARGEST_RATIO, _FREE_BYTES = 20, 64 << 20
_BYTES_PER_MEMBER, _FREE_MEMBERS = 256, 1000
_MOST_DEPTH = 50  # folders in each other
_LONGEST_HEADER = 64 << 10  # of a long name or of extended attributes
_BLOCK = 1 << 20
_ENCRYPTED = 1


@dataclass(frozen=True)
class Contents:
    """The expected content of an archive as a noun, the error for another content, and its remedy."""

    noun: str
    error: type[VislocError]
    remedy: str


class _PlainMember(tarfile.TarInfo):
    """A member whose header is short: those of gigabytes would be read into memory before any check."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        is_file = self.type in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE)
        if not is_file and self.size > _LONGEST_HEADER:
            raise tarfile.ReadError("it holds a header that none needs")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return member


class _Budget:
    """Reads a stream as far as it may unpack to. Raises ReadError beyond."""

    def __init__(self, stream: IO[bytes], left_bytes: int, noun: str) -> None:
        self._stream, self._left_bytes, self._noun = stream, left_bytes, noun

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes from the stream."""
        data = self._stream.read(size)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise tarfile.ReadError(f"it unpacks to more than a {self._noun} can hold: do not trust it")
        return data


def most_bytes(archive: Path) -> int:
    """The largest size that an archive may unpack to."""
    return _FREE_BYTES + _LARGEST_RATIO * archive.stat().st_size


def unpack_tar(
    archive: Path, folder: Path, contents: Contents, is_wanted: Callable[[PurePosixPath], bool] = lambda _: True
) -> None:
    """Write the files of a tar archive, packed or plain, below a folder. Raises the error of ``contents``."""
    with _words(archive, folder, contents), _opened_tar(archive, contents) as tar:
        for number, member in enumerate(tar):
            if number >= _most_members(archive) or member.size > most_bytes(archive):
                raise contents.error(f"{archive} unpacks to more than a {contents.noun} can hold: do not trust it")
            is_plain = (member.isreg() or member.isdir()) and not member.issparse()
            name = _checked_name(archive, member.name, is_plain, contents)
            if is_wanted(name):
                source = None if member.isdir() else tar.extractfile(member)
                _write(source, folder / name, member.size, archive, contents)


def unpack_zip(archive: Path, folder: Path, contents: Contents, at_most: int | None = None) -> int:
    """Write the files of a zip archive below a folder, and give how many bytes that were.

    They are ``at_most`` bytes, by default as many as its size explains. Raises the error of ``contents``.
    """
    check_file(archive, contents.error, LARGEST_MODEL_BYTES)
    with _words(archive, folder, contents), zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        total = sum(member.file_size for member in members)
        if len(members) > _most_members(archive) or total > (most_bytes(archive) if at_most is None else at_most):
            raise contents.error(f"{archive} unpacks to more than a {contents.noun} can hold: do not trust it")
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and not member.flag_bits & _ENCRYPTED
            name = _checked_name(archive, member.orig_filename, is_plain, contents)
            source = None if member.is_dir() else opened.open(member)
            _write(source, folder / name, member.file_size, archive, contents)
    return total


@contextmanager
def _opened_tar(archive: Path, contents: Contents) -> Iterator[tarfile.TarFile]:
    """The members of an archive one after the other, and no more bytes of them than may be."""
    check_file(archive, contents.error, LARGEST_MODEL_BYTES)
    with archive.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        plain: IO[bytes] = gzip.GzipFile(fileobj=file) if is_packed else file  # type: ignore[assignment]
        budget = _Budget(plain, most_bytes(archive), contents.noun)
        with tarfile.open(fileobj=budget, mode="r|", tarinfo=_PlainMember) as tar:  # type: ignore[call-overload]
            yield tar


@contextmanager
def _words(archive: Path, folder: Path, contents: Contents) -> Iterator[None]:
    """A message on the problem of an archive, or of the disk that it is unpacked to."""
    try:
        yield
    # zipfile raises the last of them for kinds of compression that it does not know.
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise contents.error(f"cannot unpack {archive} to {folder}: {error.strerror}") from error
        broken = f"{archive} is not a {contents.noun}, or truncated or broken ({error})"
        raise contents.error(f"{broken}: {contents.remedy}") from error
    except ValueError as error:
        raise contents.error(f"{archive} is broken ({error}): {contents.remedy}") from error


def _most_members(archive: Path) -> int:
    return _FREE_MEMBERS + archive.stat().st_size // _BYTES_PER_MEMBER


def _checked_name(archive: Path, given: str, is_plain: bool, contents: Contents) -> PurePosixPath:
    name = PurePosixPath(given)
    if name.is_absolute() or ".." in name.parts or "\\" in given or "\0" in given:
        where = f"the member '{given}' points outside the {contents.noun}"
        raise contents.error(f"{archive}: {where}: do not trust this archive")
    if len(name.parts) > _MOST_DEPTH:
        raise contents.error(f"{archive} has more folders in each other than a {contents.noun}: do not trust it")
    if not is_plain:
        what = f"the member '{given}' is a link, a device, sparse or locked"
        raise contents.error(f"{archive}: {what}: do not trust this archive")
    return name


def _write(source: IO[bytes] | None, target: Path, size: int, archive: Path, contents: Contents) -> None:
    """Write one member, a folder where it has no source."""
    if source is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with source, target.open("xb") as file:
        while block := source.read(_BLOCK):
            written += len(block)
            file.write(block)
    if written != size:
        raise contents.error(f"{archive} ends in the middle of '{target.name}': {contents.remedy}")
