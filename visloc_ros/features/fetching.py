"""Downloading published weights: on request only, checked, and in place only when whole."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from visloc_ros.core.errors import ConfigError, ModelError, OutputError
from visloc_ros.features.weights_catalogue import WeightsFile, catalogue
from visloc_ros.sources.download import DownloadBar, Wanted, download

_LARGEST_FACTOR = 4  # times the stated size that a file may have, packed or unpacked


def find_entries(names: Iterable[str]) -> list[WeightsFile]:
    """Entries of the catalogue by name. Raises ConfigError that names the known ones."""
    known = {entry.name: entry for entry in catalogue()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"no weights are called {', '.join(unknown)}; known: {', '.join(known)}")
    return [known[name] for name in names]


def fetch(
    entry: WeightsFile, hub_folder: Path, *, accept_unverified: bool = False, bar: DownloadBar | None = None
) -> Path:
    """Download a file to the place where models search it, unless it exists already, and give its path.

    Raises ModelError when the network fails or the checksum is wrong, and, without ``accept_unverified``, where no
    checksum is known; OutputError when the file cannot be written.
    """
    path = entry.path(hub_folder)
    if path.is_file():
        _check_present(entry, path)
        return path
    if not entry.sha256 and not accept_unverified:
        raise ModelError(
            f"no checksum of '{entry.name}' is known, so {entry.url} cannot be verified: give --accept-unverified if "
            "you trust it"
        )
    if entry.member:
        _download_archive(entry, path, bar)
    else:
        _download(entry, path, bar)
    return path


def _check_present(entry: WeightsFile, path: Path) -> None:
    if entry.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
        raise ModelError(f"{path} is there but is not '{entry.name}' (its checksum differs): remove it and try again")


def _download_archive(entry: WeightsFile, path: Path, bar: DownloadBar | None) -> None:
    """Keep one file of the archive at ``url``; nothing else of it reaches the disk beyond a temporary folder."""
    with _temporary_folder_beside(path) as folder:
        archive, unpacked = folder / "archive.zip", folder / path.name
        _download(replace(entry, sha256=""), archive, bar)
        _unpack(entry, archive, unpacked)
        _check_unpacked(entry, unpacked)
        unpacked.replace(path)


@contextmanager
def _temporary_folder_beside(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-")
    except OSError as error:
        raise _cannot_write(path, error) from error
    with folder as name:
        yield Path(name)


def _unpack(entry: WeightsFile, archive: Path, target: Path) -> None:
    """Write the archive's one file called ``member``, in whichever of its folders, to ``target``."""
    try:
        with zipfile.ZipFile(archive) as opened:
            (member,) = (info for info in opened.infolist() if PurePosixPath(info.filename).name == entry.member)
            if member.file_size > _LARGEST_FACTOR * entry.megabytes * 1e6:
                raise ModelError(f"'{entry.member}' in {entry.url} is larger than '{entry.name}' can be: nothing kept")
            with opened.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, ValueError) as error:
        raise ModelError(f"what {entry.url} gives is not a zip archive with one '{entry.member}': try later") from error
    except OSError as error:
        raise _cannot_write(target, error) from error


def _check_unpacked(entry: WeightsFile, unpacked: Path) -> None:
    if entry.sha256 and hashlib.sha256(unpacked.read_bytes()).hexdigest() != entry.sha256:
        raise ModelError(f"'{entry.member}' in {entry.url} is not '{entry.name}' (its checksum differs): nothing kept")


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error}; set TORCH_HOME to a folder that is writable")


def _download(entry: WeightsFile, path: Path, bar: DownloadBar | None) -> None:
    try:
        at_most = round(_LARGEST_FACTOR * entry.megabytes * 1e6)
        download(Wanted(entry.url, entry.name, ModelError, at_most, entry.sha256), path, bar)
    except OSError as error:
        raise _cannot_write(path, error) from error
