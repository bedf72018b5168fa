"""Opens an atlas as one map: the images and points of all of its maps in one frame, with one index of the images.

Nothing is copied or adjusted: a point that two maps show is there twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.atlas_file import ATLAS_NAME, Atlas, PlacedMap, is_atlas, placed_now, read_atlas_file
from visloc_ros.core.atomic_write import restore
from visloc_ros.core.errors import MapError
from visloc_ros.core.feature_files import created, opened
from visloc_ros.core.files import check_within, is_file
from visloc_ros.core.manifest import MANIFEST_NAME, Manifest, check_files, read_manifest
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_image import NO_POINT, MapImage, PagedImage
from visloc_ros.core.on_demand import OnDemand

INDEX_NAME = "index.h5"
_DESCRIPTORS, _CENTROIDS = "global_descriptors", "centroids"


def open_map_or_atlas(path: Path, *, whole: bool = False) -> Map:
    """Open whatever can be searched: a map as ``open_map`` does, whole or reduced, or an atlas as one map.

    Raises MapError.
    """
    path = Path(path)
    restore(path)
    if not is_file(path / MANIFEST_NAME):
        return open_map(path, reduced=True, whole=whole)
    check_within(path / MANIFEST_NAME, path, MapError)
    manifest = read_manifest(path)
    if not is_atlas(manifest):
        return open_map(path, reduced=True, whole=whole)
    try:
        return _open_atlas(path, manifest, whole)
    except OSError as error:
        raise MapError(f"cannot open {path}: {error.strerror}: {error.filename}") from error


def paths_of_maps(path: Path) -> Iterator[Path]:
    """Where the maps of an atlas lie; nothing for any other path. Raises MapError."""
    if is_file(path / ATLAS_NAME):
        yield from (path.absolute().parent / one.name for one in read_atlas_file(path / ATLAS_NAME))


def join_maps(name: str, manifest: Manifest, maps: Sequence[Map], placed: Sequence[PlacedMap]) -> Map:
    """The images and points of maps, as they are placed, without global descriptors.

    Images are called as in their map, after its name and a slash.
    """
    first_points = np.cumsum([0, *(len(map_.points) for map_ in maps[:-1])])
    pairs = list(zip(maps, placed, first_points.tolist(), strict=True))
    pictures = {f"{one.name}/{image}": (map_, image) for map_, one, _ in pairs for image in map_.thumbnails}
    nothing = np.empty((0, 0), np.float32)
    return Map(
        name,
        manifest,
        tuple(_placed_image(image, one, first) for map_, one, first in pairs for image in map_.images),
        np.concatenate([one.atlas_from_map @ map_.points for map_, one, _ in pairs]),
        nothing,
        nothing,
        OnDemand(pictures, lambda name: pictures[name][0].thumbnails[pictures[name][1]]),
        atlas=Atlas(tuple(placed), first_points),
    )


def write_index(folder: Path, descriptors: NDArray[np.floating], centroids: NDArray[np.floating]) -> None:
    """Write the global descriptors (M, G) of an atlas, and the VLAD codebook (C, D), which may be empty."""
    with created(folder / INDEX_NAME) as file:
        file[_DESCRIPTORS] = np.asarray(descriptors, np.float16)
        file[_CENTROIDS] = np.asarray(centroids, np.float32)


def _open_atlas(path: Path, manifest: Manifest, whole: bool) -> Map:
    for name in (ATLAS_NAME, INDEX_NAME):
        check_within(path / name, path, MapError)
    check_files(path, manifest, checksums=True)
    beside = path.absolute().parent
    opened_maps = [_open_placed(beside / one.name, one, whole) for one in read_atlas_file(path / ATLAS_NAME)]
    joined = join_maps(manifest.name, manifest, *zip(*opened_maps, strict=True))
    with opened(path / INDEX_NAME) as file:
        descriptors, centroids = file.mapped(_DESCRIPTORS, np.dtype(np.float16)), file.read(_CENTROIDS, (None, None))
    if len(descriptors) != len(joined.images):
        raise MapError(f"{path / INDEX_NAME} is not of these maps: make the atlas again with 'visloc maps atlas'")
    return replace(joined, global_descriptors=descriptors, vlad_centroids=centroids)


def _open_placed(path: Path, one: PlacedMap, whole: bool) -> tuple[Map, PlacedMap]:
    map_ = open_map(path, whole=whole)
    now = placed_now(one, map_.manifest)
    if now is None:
        raise MapError(f"the map {path} has changed since the atlas was made: make it again with 'visloc maps atlas'")
    return map_, now


def _placed_image(image: MapImage, one: PlacedMap, first_point: int) -> MapImage:
    rows = np.where(image.point_rows == NO_POINT, NO_POINT, image.point_rows + first_point).astype(np.int32)
    pose = one.atlas_from_map.apply_to_pose(image.map_from_camera)
    return PagedImage(f"{one.name}/{image.name}", pose, image.camera, partial(getattr, image, "features"), rows)
