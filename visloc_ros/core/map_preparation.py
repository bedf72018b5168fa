"""What ways of searching add to a map: a folder of prepared files for each, in the manifest, and a section of the card.

A map can be reduced to the files of one way, for computers on which the whole map is too large: then only their folder
and the manifest stay, and no images, features, model, thumbnails or card.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from visloc_ros.core.atomic_write import atomic_folder, restore
from visloc_ros.core.errors import ConfigError, MapError, OutputExistsError
from visloc_ros.core.files import check_links, exists, is_file
from visloc_ros.core.manifest import (
    MANIFEST_NAME,
    Manifest,
    ReducedInfo,
    UncertaintyInfo,
    check_files,
    file_info,
    read_manifest,
    write_manifest,
)
from visloc_ros.core.map import Map
from visloc_ros.core.map_archive import pack_map, packed_in, unpacked
from visloc_ros.core.map_folder import ARCHIVE_SUFFIX
from visloc_ros.core.map_layout import CARD_NAME, VERSIONS_FOLDER
from visloc_ros.core.map_lock import changing
from visloc_ros.core.map_versions import link_all_versions
from visloc_ros.core.map_writer import staged_folder
from visloc_ros.core.temporary_folder import temporary_folder

_END_OF_CARD = b"<footer>"


def add_prepared(path: Path, way: str, of: Manifest, write: Callable[[Path], Mapping[str, Any]]) -> Manifest:
    """Let ``write`` fill a folder, and add that to a map, folder or archive, as the files prepared for ``way``.

    The plain values that ``write`` returns become the manifest's entry; an earlier folder and entry are replaced. The
    map changes only once everything is complete, and nobody else changes it meanwhile. Raises MapError where there is
    no map of this package, or another one than that of the manifest ``of``, which was prepared; OutputError where it
    cannot be written; MapBusyError, and what ``write`` raises.
    """
    with changing(path):
        return _add_prepared(path, way, of, write)


def _add_prepared(path: Path, way: str, of: Manifest, write: Callable[[Path], Mapping[str, Any]]) -> Manifest:
    restore(path)
    path = packed_in(path)
    if is_file(path):
        with unpacked(path) as old, temporary_folder("map") as new:
            manifest = _copy_with(old, new, way, of, write)
            pack_map(new, path, overwrite=True)
            return manifest
    if not is_file(path / MANIFEST_NAME):
        raise MapError(f"{path} is no map of this package: bring one of stock hloc over with 'visloc import-hloc'")
    with atomic_folder(path) as folder:
        manifest = _copy_with(path, folder, way, of, write)
        link_all_versions(path, folder)
        return manifest


def _copy_with(old: Path, new: Path, way: str, of: Manifest, write: Callable[[Path], Mapping[str, Any]]) -> Manifest:
    """Copy a map's folder, but its earlier versions, with other prepared files for one way of searching."""
    check_links(old, MapError, but_not=VERSIONS_FOLDER)
    manifest = read_manifest(old)
    if manifest.model_id != of.model_id:
        raise MapError(f"{old} is another version now than when its preparation began: prepare it again")
    check_files(old, manifest, checksums=False)
    left_out = {way, VERSIONS_FOLDER}
    shutil.copytree(
        old, new, symlinks=True, dirs_exist_ok=True, ignore=lambda folder, _: left_out if Path(folder) == old else set()
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


def put_section(folder: Path, name: str, section: str) -> None:
    """Write a section, HTML, at the end of a map's card, in place of an earlier section of that name.

    A map without a card gets none, and a card that is a link stays as it is.
    """
    path = folder / CARD_NAME
    if not path.is_file() or path.is_symlink():
        return
    first, last = f"<!-- {name} -->\n".encode(), f"<!-- end of {name} -->\n".encode()
    card = _without(path.read_bytes(), first, last)
    before, end, after = card.rpartition(_END_OF_CARD)
    if end:
        path.write_bytes(before + first + section.encode() + b"\n" + last + end + after)


def _without(card: bytes, first: bytes, last: bytes) -> bytes:
    """The card without the part between two marks."""
    start, stop = card.find(first), card.find(last)
    return card[:start] + card[stop + len(last) :] if 0 <= start < stop else card


def write_reduced(
    map_: Map, source: Path, output: Path, way: str, uncertainty: UncertaintyInfo, *, overwrite: bool = False
) -> Manifest:
    """Write only the files prepared for ``way`` in a map, opened from ``source``, to a folder or a ``.tar.gz``.

    ``uncertainty`` is the whole map's own error, which cannot be estimated from a reduced map. Raises MapError where
    nothing is prepared, ConfigError where the output would replace the whole map itself, OutputError.
    """
    if way not in map_.prepared:
        ways = " and ".join(map_.prepared) or "no way of searching"
        text = f"the map '{map_.name}' is prepared for {ways}, not for {way}"
        raise MapError(f"{text}: choose another way of searching, or run 'visloc prepare' first")
    if output.resolve() in (source.resolve(), packed_in(source).resolve()):
        raise ConfigError(f"{output} is the whole map, which would be lost: choose another place")
    if not output.name.endswith(ARCHIVE_SUFFIX):
        with staged_folder(output, overwrite=overwrite) as folder:
            return _write(map_, folder, way, uncertainty)
    if exists(output) and not overwrite:
        raise OutputExistsError(f"{output} already exists: choose another name or allow overwriting (--overwrite)")
    with temporary_folder("map") as folder:
        manifest = _write(map_, folder, way, uncertainty)
        pack_map(folder, output, overwrite=overwrite)
        return manifest


def _write(map_: Map, folder: Path, way: str, uncertainty: UncertaintyInfo) -> Manifest:
    whole = map_.manifest
    for name, content in map_.prepared[way].items():
        path = folder / way / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    kept = {name: info for name, info in whole.files.items() if name.startswith(f"{way}/")}
    left_out = {name: info for name, info in whole.files.items() if name not in kept}
    manifest = replace(
        whole,
        files=kept,
        uncertainty=uncertainty,
        prepared={way: whole.prepared[way]},
        reduced=ReducedInfo(way, left_out),
    )
    write_manifest(folder, manifest)
    return manifest
