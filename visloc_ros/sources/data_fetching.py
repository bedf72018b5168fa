"""Public recordings with true poses: downloaded on request only, unpacked safely, and kept only if they can be read.

Their publishers state no checksums. Several public repositories that pin the files agree on those given here (one for
tum-fr1-rpy); where none was found, the checksum of the first download is recorded, and later downloads are compared
with it. EuRoC is left out because its sequences are now published as parts of archives of 13 GB, behind a page, and
KITTI because its smallest archive of images has 22 GB.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from visloc_ros.core.atomic_write import atomic_folder, atomic_write, check_space, restore
from visloc_ros.core.errors import ConfigError, SourceError, VislocError
from visloc_ros.core.files import exists, is_folder, read_text
from visloc_ros.core.unpacking import Contents, most_bytes, unpack_tar, unpack_zip
from visloc_ros.sources.datasets import read_dataset
from visloc_ros.sources.download import DownloadBar, Wanted, download, size_of
from visloc_ros.sources.opening import open_source

_TUM = "https://cvg.cit.tum.de/rgbd/dataset/freiburg1/"
_SEVEN_SCENES = "https://download.microsoft.com/download/2/8/5/28564B23-0828-408F-8631-23B1EFF1DAC8/"
_NON_COMMERCIAL = "Microsoft Research, for non-commercial use only"
LARGEST_BYTES = 16 << 30
_CONTENTS = Contents("data set", SourceError, "fetch it again")
_BLOCK = 1 << 20
_MOST_DEPTH = 4  # of a recording's folder below that of its data set


@dataclass(frozen=True)
class DataSet:
    """One archive; no ``sha256`` and no ``size`` in bytes where they are not known."""

    name: str
    url: str
    licence: str
    what: str
    sha256: str = ""
    size: int = 0

    @property
    def file(self) -> str:
        """Name of the archive."""
        return self.url.rpartition("/")[2]


DATA_SETS = (
    DataSet(
        "tum-fr1-xyz",
        f"{_TUM}rgbd_dataset_freiburg1_xyz.tgz",
        "CC BY 4.0",
        "TUM RGB-D: 30 s along the axes in front of a desk",
        "a0236d97b8c30cd93b653656d2b6c293ff7c982a4130ef2a1a8beecdb124ef98",
        448_204_271,
    ),
    DataSet(
        "tum-fr1-rpy",
        f"{_TUM}rgbd_dataset_freiburg1_rpy.tgz",
        "CC BY 4.0",
        "TUM RGB-D: 28 s of turns in front of a desk",
        "78103722a25873dbbb4de027eaa8c810a6382100691f02b6cf95c3adc91c4ac1",
        410_268_381,
    ),
    DataSet(
        "tum-fr1-desk",
        f"{_TUM}rgbd_dataset_freiburg1_desk.tgz",
        "CC BY 4.0",
        "TUM RGB-D: 23 s over four desks",
        "e983d6830916e66dc4a46a71368046b149b283de87769690e7aa4e0b9483530c",
        344_011_403,
    ),
    DataSet("7scenes-heads", f"{_SEVEN_SCENES}heads.zip", _NON_COMMERCIAL, "7-Scenes: 2 sequences"),
    DataSet("7scenes-redkitchen", f"{_SEVEN_SCENES}redkitchen.zip", _NON_COMMERCIAL, "7-Scenes: 14 sequences"),
)


@dataclass(frozen=True)
class Fetched:
    """The folder of a data set, the recordings in it, and the reference of its checksum, empty at the first download.

    ``sha256`` is that of the archive.
    """

    folder: Path
    recordings: tuple[Path, ...]
    sha256: str
    verified_by: str


def find_data_set(name: str) -> DataSet:
    """An entry of the catalogue. Raises ConfigError that names the known ones."""
    known = {entry.name: entry for entry in DATA_SETS}
    if name not in known:
        raise ConfigError(f"no data set is called '{name}'; known: {', '.join(known)}")
    return known[name]


def ask_size(entry: DataSet) -> int:
    """Bytes of an archive by the catalogue, else by the server, which may not state it. Raises SourceError."""
    return entry.size or size_of(Wanted(entry.url, entry.name, SourceError, LARGEST_BYTES))


def record_path(entry: DataSet, into: Path) -> Path:
    """Path of the record of a download, beside the data."""
    return into / f"{entry.name}.fetched.json"


def recorded_sha256(entry: DataSet, into: Path) -> str:
    """Checksum of the first download, empty before it. Raises SourceError."""
    path = record_path(entry, into)
    if not exists(path):
        return ""
    try:
        return str(json.loads(read_text(path, SourceError))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{path} is no record of what was fetched: remove it if you trust what comes") from error


def find_recordings(folder: Path) -> tuple[Path, ...]:
    """The recordings of a data set, by name. Raises SourceError where there is none, or one that cannot be read."""
    found: list[Path] = []
    for name, subfolders, _ in os.walk(folder):
        path = Path(name)
        is_recording = read_dataset(path, 0.0) is not None
        if is_recording:
            found.append(path)
        if is_recording or len(path.relative_to(folder).parts) == _MOST_DEPTH:
            subfolders.clear()
    if not found:
        raise SourceError(f"{folder.name} holds no recording that can be read")
    return tuple(sorted(found))


def already_there(entry: DataSet, into: Path) -> Fetched | None:
    """A data set that was fetched before. Raises SourceError where it cannot be read."""
    folder = into / entry.name
    restore(folder)
    if not is_folder(folder):
        return None
    return Fetched(folder, find_recordings(folder), recorded_sha256(entry, into), "")


def fetch_data(entry: DataSet, into: Path, size: int, bar: DownloadBar | None = None) -> Fetched:
    """Download, verify and unpack a data set; one that is there is replaced once the new one is whole.

    Raises SourceError where the network fails, or the file is another one; OutputError where it cannot be written.
    """
    recorded = recorded_sha256(entry, into)
    folder = into / entry.name
    with atomic_folder(folder) as new:
        check_space(new, 2 * size)
        archive = new / entry.file
        download(Wanted(entry.url, entry.name, SourceError, size or LARGEST_BYTES, entry.sha256), archive, bar)
        sha256 = _sha256_of(archive)
        if recorded and sha256 != recorded:
            raise _changed(entry, into)
        _unpack(archive, new)
        found = find_recordings(new)
        for path in found:
            open_source(path)  # raises where it cannot be read
    verified_by = "the catalogue" if entry.sha256 else "what came before" if recorded else ""
    _record(entry, into, sha256)
    return Fetched(folder, tuple(folder / path.relative_to(new) for path in found), sha256, verified_by)


def _changed(entry: DataSet, into: Path) -> VislocError:
    path = record_path(entry, into)
    return SourceError(
        f"what {entry.url} gives is not what it gave before (its checksum differs): nothing was kept; remove {path} if "
        "you trust the new one"
    )


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive, and the archives in it, in place, and remove them."""
    if archive.suffix != ".zip":
        unpack_tar(archive, folder, _CONTENTS)
        archive.unlink()
        return
    left = most_bytes(archive)
    left -= unpack_zip(archive, folder, _CONTENTS)
    archive.unlink()
    for inner in sorted(folder.rglob("*.zip")):
        left -= unpack_zip(inner, inner.parent, _CONTENTS, at_most=left)
        inner.unlink()


def _record(entry: DataSet, into: Path, sha256: str) -> None:
    """Record a download for comparison with later ones. Raises OutputError."""
    with atomic_write(record_path(entry, into)) as path:
        path.write_text(json.dumps({"url": entry.url, "sha256": sha256}, indent=1) + "\n", encoding="utf-8")
