"""Writes a map in another frame: its images, points and manifest; nothing is matched or adjusted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pycolmap

from visloc_ros.core.manifest import ALIGNED, Manifest, in_frame
from visloc_ros.core.map import Map, find_files, open_map
from visloc_ros.core.map_archive import map_folder
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER
from visloc_ros.core.map_lock import changing
from visloc_ros.core.map_versions import changed_folder, is_in_place, successor
from visloc_ros.core.map_writer import check_output, write_map
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.card import write_card
from visloc_ros.mapping.scale import transform
from visloc_ros.mapping.summary import ImageCount, summarize
from visloc_ros.mapping.update.use import USE_NAME, read_use, write_use
from visloc_ros.mapping.validation import validate_map


def align_map(map_path: Path, output: Path, fit: Callable[[Map], MapFit], *, overwrite: bool = False) -> MapFit:
    """Write a map in the frame that ``fit`` finds for it; ``output`` may be the map itself, with ``overwrite``.

    The manifest keeps the source of the frame, its residuals, and the transform from the frame that the map was in, by
    which running nodes and stored poses follow. A map that is replaced stays as an earlier version, and its counts of
    use are kept. Raises OutputError when ``output`` is taken or not writable, MapError when the map is broken or
    ``fit`` refuses; an old map stays as it is until the new one is whole.
    """
    check_output(output, overwrite=overwrite, keeps_versions=is_in_place(map_path, output))
    with changing(output), map_folder(map_path) as old_folder:
        map_ = open_map(old_folder, whole=True)
        found = fit(map_)
        reconstruction = pycolmap.Reconstruction(find_files(old_folder, checksums=False)[0].model)
        transform(reconstruction, found.frame_from_map)
        names = [image.name for image in map_.images]
        features = {image.name: image.features for image in map_.images}
        descriptors = dict(zip(names, map_.global_descriptors, strict=True))
        with changed_folder(old_folder, map_.manifest, output, overwrite=overwrite) as folder:
            if (old_folder / THUMBNAIL_FOLDER).is_dir():
                shutil.copytree(old_folder / THUMBNAIL_FOLDER, folder / THUMBNAIL_FOLDER)
            described = successor(
                _described(map_.manifest, output.resolve().name, found), old_folder, map_.manifest, ALIGNED
            )
            manifest = write_map(folder, reconstruction, features, descriptors, map_.vlad_centroids, described)
            if (old_folder / USE_NAME).exists():
                manifest = write_use(folder, read_use(old_folder, len(map_.points), len(names)), manifest)
            manifest = validate_map(folder, manifest)
            counts = [ImageCount(map_.name, len(names), len(names))]
            write_card(folder, manifest, summarize(manifest, counts, reconstruction, {}))
    return found


def _described(old: Manifest, name: str, found: MapFit) -> Manifest:
    """The manifest of the map in its new frame."""
    is_scaled = found.metric and abs(found.frame_from_map.scale - 1.0) > 1e-9
    moved = in_frame(old, old.frame.moved(found.frame_from_map))
    return replace(
        moved,
        name=name,
        metric=found.metric,
        gravity_aligned=found.gravity_aligned,
        scale_source=found.source if is_scaled or not old.metric else old.scale_source,
        gravity_source=found.source,
        scale_error=found.residuals.get("scale_error", None if is_scaled else old.scale_error),
        gravity_error_deg=found.residuals.get("axes_error_deg"),
        geo_origin=found.geo_origin,
        alignment={"source": found.source, "residuals": dict(found.residuals)},
    )
