"""A robot's copy of a map of a server becomes the version that is the present one there; only what it lacks travels.

Files that the copy's versions have are not fetched. What is fetched lies beside the map until all
is there, so that a pull that was interrupted goes on, and every file is compared with its checksum before the copy
changes, which it does as a whole.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from visloc_ros.core.atomic_write import check_space, is_unfinished, restore
from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.files import exists
from visloc_ros.core.manifest import MANIFEST_NAME, FileInfo, Manifest, check_files, file_info, read_manifest
from visloc_ros.core.map_archive import members
from visloc_ros.core.map_layout import VERSIONS_FOLDER
from visloc_ros.core.map_lock import changing
from visloc_ros.core.map_versions import keep_versions, link_or_copy, list_versions
from visloc_ros.core.map_writer import check_output, staged_folder
from visloc_ros.core.progress import Progress, SilentProgress
from visloc_server.client import LocalizationClient
from visloc_server.map_files import MapFiles, known_models

_LOCK = "lock"
_LONGEST_NAME, _LONGEST_PART = 1000, 255  # of file systems


@dataclass(frozen=True)
class PullReport:
    """The version that a copy is now, its ``files`` and their bytes, and how many of these were ``new`` to it.

    ``received`` are the bytes that the server sent for them, without heads of HTTP.
    """

    version: int
    files: int
    size: int
    new_files: int
    new_size: int
    received: int

    def __str__(self) -> str:
        return (
            f"version {self.version}: {self.new_files} of {self.files} files are new, {self.new_size / 1e6:.2f} of "
            f"{self.size / 1e6:.2f} MB; {self.received / 1e6:.2f} MB came"
        )


def pull_map(client: LocalizationClient, name: str, path: Path, *, progress: Progress | None = None) -> PullReport:
    """Make a map's folder, or a new one, a copy of the present version of a server's map.

    The version that it was stays beside it. Raises ConfigError where it is no copy of the same map, or has a change
    that the server lacks; ServerError; MapError where what comes is not what it should be; OutputError.
    """
    check_output(path, overwrite=True, keeps_versions=True)
    with changing(path):
        wanted = client.map_files(name)
        _check_names(wanted)
        own = _own_manifest(path)
        if own is not None:
            _check_same_map(path, wanted)
        new = _Pull(client, name, wanted, path).run(own, progress or SilentProgress())
    new_size = sum(wanted.files[one].size for one in new)
    return PullReport(wanted.version, len(wanted.files), wanted.size, len(new), new_size, client.received)


def _own_manifest(path: Path) -> FileInfo | None:
    """The manifest of the copy; None where there is none yet. Raises MapError for what has no versions."""
    restore(path)
    if not exists(path) or not any(path.iterdir()):
        return None
    list_versions(path)
    return file_info(path / MANIFEST_NAME)


def _check_names(wanted: MapFiles) -> None:
    """Raise MapError where files would lie outside the map, in each other's place, or could not be checked."""
    if MANIFEST_NAME not in wanted.files:
        raise MapError("the server lists a map without a manifest: nothing was changed")
    for name, info in wanted.files.items():
        if not _is_name(name) or not re.fullmatch("[0-9a-f]{64}", info.sha256):
            raise MapError(f"the server lists a file '{name}' that no map has: do not trust it; nothing was changed")
    both = {str(parent) for name in wanted.files for parent in PurePosixPath(name).parents} & wanted.files.keys()
    if both:
        raise MapError(f"the server lists '{min(both)}' as a file and as a folder: do not trust it")


def _is_name(name: str) -> bool:
    """Whether a file of a map can have this name."""
    path = Path(name)
    is_plain = name.isprintable() and "\\" not in name and len(name) <= _LONGEST_NAME
    is_inside = name == "/".join(path.parts) and not {"..", "/"} & set(path.parts)
    is_short = is_plain and all(len(os.fsencode(part)) <= _LONGEST_PART for part in path.parts)
    return is_short and is_inside and bool(path.parts) and path.parts[0] != VERSIONS_FOLDER and not is_unfinished(path)


def _check_same_map(path: Path, wanted: MapFiles) -> None:
    own = read_manifest(path)
    if own.reduced is not None:
        raise ConfigError(f"{path} is reduced to one way of searching: pull to another folder, and reduce that")
    if own.model_id in wanted.known:
        return
    if known_models(path) & wanted.known:
        raise ConfigError(
            f"version {own.version} of {path} has a change that the server lacks: send it the recording (POST "
            f"/reference/update), or go back with 'visloc update-map {path} --rollback 0', and pull then"
        )
    raise ConfigError(f"{path} is another map than the server's: pull to another folder, or delete it first")


class _Pull:
    """One pull of one map."""

    def __init__(self, client: LocalizationClient, name: str, wanted: MapFiles, path: Path) -> None:
        self._client, self._name, self._wanted, self._path = client, name, wanted, path
        self._own = _OwnFiles(path, {info.size for info in wanted.files.values()})

    def run(self, own: FileInfo | None, progress: Progress) -> list[str]:
        """Bring the copy, whose manifest was ``own``, to the wanted version, and give the names of new files."""
        files = self._wanted.files
        new = [name for name, info in files.items() if info.sha256 not in self._own.by_checksum]
        if own is not None and self._own.are(files):
            return []
        with _arrivals(self._path) as arrivals:
            _keep_only(arrivals, {files[name].sha256 for name in new})
            check_space(arrivals, sum(files[name].size for name in new))
            progress.stage("pull", len(new))
            for name in new:
                self._fetch(name, arrivals / files[name].sha256)
                progress.advance()
            self._put_in_place(own, arrivals)
        return new

    def _fetch(self, name: str, target: Path) -> None:
        """Fetch what a file lacks, after what an earlier pull has fetched of it. Raises MapError."""
        info = self._wanted.files[name]
        with target.open("ab") as file:
            if file.tell() > info.size:
                file.truncate(0)
            if file.tell() < info.size:
                for block in self._client.file_part(self._name, name, self._wanted.version, file.tell(), info.size):
                    file.write(block)
        if file_info(target) != info:
            target.unlink()
            raise MapError(
                f"'{name}' did not come as it should be (its checksum differs): {self._path} was not changed; pull it "
                "again, and if that fails, too, check the map on the server with 'visloc maps check'"
            )

    def _put_in_place(self, own: FileInfo | None, arrivals: Path) -> None:
        files = self._wanted.files
        with staged_folder(self._path, overwrite=True, keeps_versions=True) as folder:
            for name, info in files.items():
                self._put(self._own.by_checksum.get(info.sha256, arrivals / info.sha256), folder / name)
            manifest = self._manifest_in(folder)
            is_listed = all(files.get(name) == info for name, info in manifest.files.items())
            if not is_listed or (manifest.version, manifest.model_id) != (self._wanted.version, self._wanted.model):
                raise MapError(f"the files of '{self._name}' do not belong together: {self._path} was not changed")
            if _own_manifest(self._path) != own:
                raise MapError(f"{self._path} has changed meanwhile: pull it again")
            if own is not None:
                keep_versions(self._path, folder)

    def _put(self, source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):  # file systems may ignore case
            raise MapError(f"the disk of {self._path} has one name for two files of the map: pull it to another disk")
        link_or_copy(source, target)

    def _manifest_in(self, folder: Path) -> Manifest:
        """The manifest of what has come. Raises MapError where it is no whole map."""
        try:
            manifest = read_manifest(folder)
            check_files(folder, manifest, checksums=False)
        except MapError as error:
            words = str(error).replace(f"{folder}/", "")
            raise MapError(f"the server's map cannot be used, and {self._path} was not changed: {words}") from error
        return manifest


class _OwnFiles:
    """The files of all versions of a copy, if it has one, that have one of these sizes in bytes."""

    def __init__(self, path: Path, sizes: set[int]) -> None:
        self._path = path
        checksums: dict[tuple[int, int], str] = {}  # versions are linked: each file is read once
        self._checksums: dict[Path, str] = {}
        for file in sorted(path.rglob("*")):
            status = file.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_size in sizes:
                place = (status.st_dev, status.st_ino)
                checksums[place] = checksums.get(place) or file_info(file).sha256
                self._checksums[file] = checksums[place]
        self.by_checksum = {checksum: file for file, checksum in self._checksums.items()}

    def are(self, files: Mapping[str, FileInfo]) -> bool:
        """Whether the present version has exactly these files."""
        names = {file.relative_to(self._path).as_posix() for file in members(self._path)}
        return names == set(files) and all(
            self._checksums.get(self._path / name) == info.sha256 for name, info in files.items()
        )


def _keep_only(arrivals: Path, checksums: Set[str]) -> None:
    """Remove what earlier pulls have fetched of other versions."""
    for path in arrivals.iterdir():
        if path.name not in checksums and path.name != _LOCK:
            path.unlink()


@contextmanager
def _arrivals(path: Path) -> Iterator[Path]:
    """The folder beside a map for what is fetched, by checksum; it goes once all is in place. Raises OutputError."""
    folder = path.resolve().with_name(f".{path.resolve().name}.pulled")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(f"another process is just pulling {path}: wait until it has ended") from error
            yield folder
            shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}; free some space") from error
