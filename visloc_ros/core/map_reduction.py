"""A map reduced to the files of one way of searching: for computers on which the whole map is too large.

Only the folder of these files and the manifest stay: no images, no features, no model, no thumbnails, no card.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from visloc_ros.core.errors import ConfigError, MapError, OutputExistsError
from visloc_ros.core.files import exists
from visloc_ros.core.manifest import Manifest, ReducedInfo, UncertaintyInfo, write_manifest
from visloc_ros.core.map import Map
from visloc_ros.core.map_archive import pack_map, packed_in
from visloc_ros.core.map_folder import ARCHIVE_SUFFIX
from visloc_ros.core.map_writer import staged_folder


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
    with tempfile.TemporaryDirectory(prefix="visloc-map-") as folder:
        manifest = _write(map_, Path(folder), way, uncertainty)
        pack_map(Path(folder), output, overwrite=overwrite)
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
