"""The files of one version of a map, for copies of it on other computers: which they are, and which map they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from visloc_ros.core.errors import MapError
from visloc_ros.core.manifest import MANIFEST_NAME, FileInfo, file_info, read_manifest
from visloc_ros.core.map_archive import members
from visloc_ros.core.map_versions import list_versions


@dataclass(frozen=True)
class MapFiles:
    """All files of a version of a map by their names in its folder, the manifest among them.

    ``model`` identifies the version wherever it is copied to, ``known`` those that it was made of, or that lie beside
    it: a copy of one of these can become a copy of this one.
    """

    version: int
    model: str
    known: frozenset[str]
    files: Mapping[str, FileInfo]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(info.size for info in self.files.values())


def list_files(folder: Path) -> MapFiles:
    """The files of a map's present version, by the checksums of its manifest where that has them. Raises MapError."""
    known = known_models(folder)
    manifest = read_manifest(folder)
    names = [path.relative_to(folder).as_posix() for path in members(folder)]
    missing = next((name for name in (*manifest.files, MANIFEST_NAME) if name not in names), None)
    if missing is not None:
        raise MapError(f"{folder / missing} is missing: copy the map again or rebuild it")
    files = {name: manifest.files.get(name) or file_info(folder / name) for name in names}
    return MapFiles(manifest.version, manifest.model_id, known, files)


def known_models(path: Path) -> frozenset[str]:
    """The versions in a map's folder, and those that they were made of. Raises MapError."""
    steps = {step for version in list_versions(path) for step in (version.step, *version.ancestors)}
    return frozenset(model_id for _, model_id in steps)
