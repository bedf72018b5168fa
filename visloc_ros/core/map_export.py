"""The map in use as one file, checked to be the one that was loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import ConfigError, MapError, OutputError
from visloc_ros.core.files import exists, is_file
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, check_files, read_manifest
from visloc_ros.core.map_archive import pack_map, unpacked

SUFFIX = ".tar.gz"


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
