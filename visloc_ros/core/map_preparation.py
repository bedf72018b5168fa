"""Files that a way of searching prepares in a map: a folder of its name, listed in the manifest."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from visloc_ros.core.atomic_write import atomic_folder, restore
from visloc_ros.core.errors import MapError
from visloc_ros.core.files import is_file
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, check_files, file_info, read_manifest, write_manifest
from visloc_ros.core.map_archive import pack_map, packed_in, unpacked


def add_prepared(path: Path, way: str, write: Callable[[Path], Mapping[str, Any]]) -> Manifest:
    """Let ``write`` fill a folder, and add that to a map, folder or archive, as the files prepared for ``way``.

    The plain values that ``write`` returns become the manifest's entry; an earlier folder and entry are replaced. The
    map changes only once everything is complete. Raises MapError where there is no map of this package, OutputError
    where it cannot be written, and what ``write`` raises.
    """
    restore(path)
    path = packed_in(path)
    if is_file(path):
        with unpacked(path) as old, tempfile.TemporaryDirectory(prefix="visloc-map-") as new:
            manifest = _copy_with(old, Path(new), way, write)
            pack_map(Path(new), path, overwrite=True)
            return manifest
    if not is_file(path / MANIFEST_NAME):
        raise MapError(f"{path} is no map of this package: bring one of stock hloc over with 'visloc import-hloc'")
    with atomic_folder(path) as folder:
        return _copy_with(path, folder, way, write)


def _copy_with(old: Path, new: Path, way: str, write: Callable[[Path], Mapping[str, Any]]) -> Manifest:
    """Copy a map's folder with other prepared files for one way of searching."""
    manifest = read_manifest(old)
    check_files(old, manifest, checksums=False)
    shutil.copytree(
        old, new, symlinks=True, dirs_exist_ok=True, ignore=lambda folder, _: {way} if Path(folder) == old else set()
    )
    (new / way).mkdir()
    entry = write(new / way)
    kept = {name: info for name, info in manifest.files.items() if not name.startswith(f"{way}/")}
    written = {f"{way}/{file.relative_to(new / way).as_posix()}": file_info(file) for file in _files(new / way)}
    complete = replace(manifest, prepared={**manifest.prepared, way: entry}, files={**kept, **written})
    write_manifest(new, complete)
    return complete


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
