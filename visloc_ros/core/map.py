"""The map of a place: images with poses, their features, the 3D points they see, and how to find them.

In memory a map is plain contiguous arrays; on disk it is a folder (docs/maps.md) that stock hloc reads:
``sfm/`` (COLMAP model), ``features.h5``, ``global-feats-<descriptor>.h5``, ``vlad.h5`` (the codebook, with
VLAD only) and ``manifest.json``. A folder made by stock hloc opens, too. A map that was reduced to what one way of
searching needs (``core/map_preparation.py``) holds none of these but the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import read_whole
from visloc_ros.core.colmap_model import ColmapModel, ModelImage
from visloc_ros.core.colmap_text import read_model
from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import (
    LocalFeatures,
    keypoints_agree,
    read_centroids,
    read_global_descriptors,
    read_local_features,
)
from visloc_ros.core.files import check_links, check_within, exists, is_file, is_folder
from visloc_ros.core.geometry import Array
from visloc_ros.core.hloc_layout import find_hloc_layout, hloc_manifest
from visloc_ros.core.manifest import MANIFEST_NAME, FileInfo, Manifest, ModelInfo, check_files, read_manifest
from visloc_ros.core.map_archive import pack_map, packed_in, unpacked
from visloc_ros.core.map_image import NO_POINT, MapImage
from visloc_ros.core.map_layout import THUMBNAIL_FOLDER, VERSIONS_FOLDER, MapLayout, own_layout
from visloc_ros.core.map_pages import PAGED_FROM, MapParts, read_pages, write_pages
from visloc_ros.core.map_writer import save_map
from visloc_ros.core.thumbnails import Thumbnails
from visloc_ros.core.types import MapIdentity

__all__ = [
    "NO_POINT",
    "FileInfo",
    "LocalFeatures",
    "Manifest",
    "Map",
    "MapImage",
    "ModelInfo",
    "open_map",
    "pack_map",
    "save_map",
]

_NOTHING = np.empty((0, 0), np.float32)
_ATLAS = "atlas.yaml"


@dataclass(frozen=True, eq=False)
class Map:
    """A loaded map: manifest, reference images, points (P, 3), global descriptors (M, G) in the images' order.

    Of a large map, features, thumbnails and global descriptors stay on disk until they are used. ``vlad_centroids``
    (C, D) is empty where the global descriptors are not VLAD. ``thumbnails`` are small pictures by
    image name, encoded as JPEG; maps of stock hloc have none. ``prepared`` are the contents of files by name that a way
    of searching has made, by its name (``core/map_preparation.py``). ``point_labels`` (P,) say which landmark or
    instance, from 1 on, each point belongs to, 0 for none; None where the points are not divided.
    """

    name: str
    manifest: Manifest
    images: tuple[MapImage, ...]
    points: Array
    global_descriptors: NDArray[np.floating]
    vlad_centroids: NDArray[np.float32]
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    prepared: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    point_labels: NDArray[np.int32] | None = None

    @property
    def identity(self) -> MapIdentity:
        """The description of this map that its poses carry."""
        manifest = self.manifest
        return MapIdentity(
            self.name,
            manifest.metric,
            manifest.gravity_aligned,
            on_earth=manifest.on_earth,
            frame=manifest.frame,
            model_id=manifest.model_id,
        )

    @property
    def camera_positions(self) -> Array:
        """Where the reference images were taken (M, 3), in the map's frame."""
        return np.array([image.map_from_camera.translation for image in self.images]).reshape(-1, 3)


def open_map(
    path: Path, *, checksums: bool = True, extractor: str = "", reduced: bool = False, whole: bool = False
) -> Map:
    """Open a map folder or a packed ``reference.tar.gz``, everything checked.

    A folder that holds only such an archive is opened, too. Of a large map's folder, unless it is to be read ``whole``,
    only what ``core/map_pages.py`` describes is read and checked; the rest is when it is used.
    Raises MapError that names the missing, truncated or inconsistent file and what to do. ``checksums`` False skips
    the SHA-256 comparison (sizes and contents are checked all the same). ``extractor`` names the model that made the
    local features of a folder of stock hloc whose file names do not say. A reduced map is refused unless ``reduced``:
    it has no images and points, only what is ``prepared`` (``localization/searchable_map.py`` makes images of that).
    """
    path = Path(path)
    return read_whole(path, lambda: _open(packed_in(path), checksums, extractor, reduced, whole))


def _open(path: Path, checksums: bool, extractor: str, reduced: bool, whole: bool) -> Map:
    try:
        if is_file(path):
            with unpacked(path) as folder:
                return _open_folder(folder, checksums, extractor, reduced, whole=True)
        if not is_folder(path):
            raise MapError(f"there is no map at {path}: build one with 'visloc build-map SOURCE --output {path}'")
        return _open_folder(path, checksums, extractor, reduced, whole)
    except OSError as error:
        raise MapError(f"cannot open {path}: {error.strerror}: {error.filename}") from error


def find_files(folder: Path, *, checksums: bool = True, extractor: str = "") -> tuple[MapLayout, Manifest]:
    """The files of a map folder, ours or stock hloc's, and what they are. Raises MapError; options as ``open_map``."""
    if not exists(folder / MANIFEST_NAME):
        layout = find_hloc_layout(folder)
        return layout, hloc_manifest(layout, extractor)
    check_links(folder, MapError, but_not=VERSIONS_FOLDER)
    manifest = read_manifest(folder)
    if extractor:
        raise MapError(f"{folder} says itself what its features were made by: leave --extractor out")
    check_files(folder, manifest, checksums)
    return own_layout(folder, manifest), manifest


def _open_folder(folder: Path, checksums: bool, extractor: str, reduced: bool, whole: bool) -> Map:
    layout, manifest = find_files(folder, checksums=False, extractor=extractor)
    if _ATLAS in manifest.files:
        raise MapError(f"{folder} is an atlas, which is no longer opened: merge its maps with 'visloc maps merge'")
    for path in () if exists(folder / MANIFEST_NAME) else layout.files:
        check_within(path, folder, MapError)
    paged = None if whole or manifest.reduced else read_pages(layout, manifest)
    check_files(folder, manifest, checksums, but_not=() if paged is None else _names_of_paged(layout))
    if manifest.reduced is not None:
        return _open_reduced(folder, manifest, reduced)
    parts = paged or _read_parts(layout, manifest, whole)
    names = [image.name for image in parts.images]
    thumbnails = Thumbnails(folder / THUMBNAIL_FOLDER, names)
    return Map(
        manifest.name,
        manifest,
        parts.images,
        parts.points,
        parts.global_descriptors,
        read_centroids(layout.centroids) if layout.centroids else _NOTHING,
        thumbnails if parts.is_paged else dict(thumbnails),
        {name: _read_prepared(folder, name, manifest) for name in manifest.prepared},
    )


def _names_of_paged(layout: MapLayout) -> list[str]:
    """The files that are compared with the checksums of pages."""
    files = [
        layout.features,
        layout.global_descriptors,
        *layout.model.glob("images.*"),
        *layout.model.glob("points3D.*"),
    ]
    return [path.relative_to(layout.folder).as_posix() for path in files]


def _read_parts(layout: MapLayout, manifest: Manifest, whole: bool) -> MapParts:
    """Read a map whole; of a large one, a file of pages is written and opened unless it is to stay ``whole``."""
    model = read_model(layout.model)
    images = _read_images(layout, model)
    names = [image.name for image in images]
    has_descriptors = layout.has_global_descriptors
    descriptors = read_global_descriptors(layout.global_descriptors, names) if has_descriptors else _NOTHING
    parts = MapParts(images, model.points, descriptors)
    if whole or len(images) < PAGED_FROM or not write_pages(layout, manifest, model, parts):
        return parts
    return read_pages(layout, manifest) or parts


def _open_reduced(folder: Path, manifest: Manifest, is_wanted: bool) -> Map:
    assert manifest.reduced is not None
    way = manifest.reduced.search
    if not is_wanted:
        raise only_prepared(manifest.name, way)
    if manifest.uncertainty is None:
        raise MapError(f"{folder} does not say what the map is off by: reduce the whole map again")
    prepared = {way: _read_prepared(folder, way, manifest)}
    return Map(manifest.name, manifest, (), np.empty((0, 3)), _NOTHING, _NOTHING, prepared=prepared)


def only_prepared(name: str, way: str) -> MapError:
    """The error message where a whole map is needed, or the map was reduced to another way of searching."""
    return MapError(
        f"the map '{name}' holds nothing but what the search by {way} needs: search it that way (--search {way}, or "
        f"anchor.search: {way}), or bring the whole map"
    )


def _read_prepared(folder: Path, way: str, manifest: Manifest) -> dict[str, bytes]:
    """Files by name that a way of searching has made; they have been compared with the manifest."""
    names = [name for name in manifest.files if name.startswith(f"{way}/")]
    return {name.removeprefix(f"{way}/"): (folder / name).read_bytes() for name in names}


def _read_images(layout: MapLayout, model: ColmapModel) -> tuple[MapImage, ...]:
    if not model.images or not len(model.points):
        raise MapError(f"{layout.model} holds no images or no points: rebuild the map")
    names = [image.name for image in model.images]
    sizes = [len(image.keypoints) for image in model.images]
    features = read_local_features(layout.features, names, sizes)
    return tuple(_make_image(layout, model, image, one) for image, one in zip(model.images, features, strict=True))


def _make_image(layout: MapLayout, model: ColmapModel, image: ModelImage, features: LocalFeatures) -> MapImage:
    if not keypoints_agree(features.keypoints, image.keypoints):
        raise MapError(
            f"{layout.features}: the keypoints of '{image.name}' are not those of {layout.model / 'images.bin'}: "
            "the files belong to different maps, rebuild the map"
        )
    try:
        rows = model.rows_of(image.point_ids)
    except KeyError as error:
        raise MapError(
            f"{layout.model / 'images.bin'}: image '{image.name}' sees the point {error}, which "
            f"{layout.model / 'points3D.bin'} does not hold: rebuild the map"
        ) from error
    return MapImage(image.name, image.map_from_camera, model.cameras[image.camera_id], features, rows)
