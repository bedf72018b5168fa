"""What a large map needs at opening, in one file made of the others; features stay on disk until they are searched.

``paging.h5`` holds the images' names, poses, cameras and point rows, the points, the global descriptors in half
precision, and the checksum of each image's features. It is written when a large map is built, or first opened, and is
for one version of the map's files: any other is read whole, and gets a new file. What it holds is compared with its
checksum at every opening, features when they are read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.colmap_model import ColmapModel
from visloc_ros.core.colmap_text import read_model_cameras
from visloc_ros.core.errors import MapError, OutputError
from visloc_ros.core.feature_files import created, opened
from visloc_ros.core.feature_pages import checksum_of, feature_pages
from visloc_ros.core.files import is_file
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.manifest import Manifest
from visloc_ros.core.map_image import NO_POINT, MapImage, PagedImage
from visloc_ros.core.map_layout import PAGING_NAME, MapLayout

PAGED_FROM = 1000
"""Images from which on a map is paged: a smaller one opens whole within three seconds, and takes 200 MB at most."""

_log = logging.getLogger(__name__)

_SCHEMA = 1
_MOST = 1 << 31  # numbers in an array
_ROWS_AT_ONCE = 4096
_DIGEST_BYTES = 32
_GLOBAL, _CHECKSUM, _VERSION = "global_descriptors", "checksum", "version"


@dataclass(frozen=True, eq=False)
class MapParts:
    """Images, points (P, 3) and global descriptors (M, G) of a map; of a paged one, these are mapped from its file."""

    images: tuple[MapImage, ...]
    points: Array
    global_descriptors: NDArray[np.floating]
    is_paged: bool = False


def write_pages(layout: MapLayout, manifest: Manifest, model: ColmapModel, whole: MapParts) -> bool:
    """Write the file for a map that was read whole; False, with a line in the log, where that is impossible."""
    images = whole.images
    poses = np.array([image.map_from_camera.matrix[:3] for image in images])
    arrays: dict[str, NDArray[Any]] = {
        "names": np.frombuffer("\0".join(image.name for image in images).encode(), np.uint8),
        "poses": poses,
        "cameras": np.array([image.camera_id for image in model.images], np.int64),
        "sizes": np.array([len(image.point_rows) for image in images], np.int64),
        "point_rows": np.concatenate([image.point_rows for image in images]),
        "points": whole.points,
        "features": np.array([np.frombuffer(checksum_of(image.features), np.uint8) for image in images]),
        _GLOBAL: np.asarray(whole.global_descriptors, np.float16),
    }
    try:
        with atomic_write(layout.folder / PAGING_NAME) as temporary, created(temporary) as file:
            for name, values in arrays.items():
                file[name] = values
            file[_VERSION] = np.frombuffer(_version_of(layout, manifest), np.uint8)
            file[_CHECKSUM] = np.frombuffer(_checksum(arrays), np.uint8)
    except OutputError as error:
        _log.info("the map '%s' stays in memory whole, since its pages cannot be written: %s", manifest.name, error)
        return False
    return True


def read_pages(layout: MapLayout, manifest: Manifest) -> MapParts | None:
    """The parts of a map that is paged; None where there is no file for this version of it, or a damaged one."""
    path = layout.folder / PAGING_NAME
    if not is_file(path):
        return None
    try:
        return _read(path, layout, _version_of(layout, manifest))
    except (MapError, UnicodeDecodeError) as error:
        _log.warning("the map '%s' is read whole, since its pages cannot be used: %s", manifest.name, error)
        return None


def checksum_of_pages(path: Path) -> bytes:
    """Identifies the content of the file of pages. Raises MapError."""
    with opened(path) as file:
        return file.read(_CHECKSUM, (_DIGEST_BYTES,)).tobytes()


def release(descriptors: NDArray[np.floating]) -> None:
    """Let go of the memory of descriptors that are mapped from a file; what is read again is mapped again."""
    mapped: Any = descriptors.base
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


def _read(path: Path, layout: MapLayout, version: bytes) -> MapParts:
    with opened(path) as file:
        if file.read(_VERSION, (_DIGEST_BYTES,)).tobytes() != version:
            raise MapError(f"{path} is of another version of the map")
        stored = file.read(_CHECKSUM, (_DIGEST_BYTES,)).tobytes()
        arrays = {
            name: file.read(name, shape, _MOST)
            for name, shape in {
                "names": (None,),
                "poses": (None, 3, 4),
                "cameras": (None,),
                "sizes": (None,),
                "point_rows": (None,),
                "points": (None, 3),
                "features": (None, _DIGEST_BYTES),
            }.items()
        }
        arrays[_GLOBAL] = file.mapped(_GLOBAL, np.dtype(np.float16))
    if _checksum(arrays) != stored:
        raise MapError(f"{path} is damaged")
    return MapParts(_images(path, layout, arrays), arrays["points"], arrays[_GLOBAL], is_paged=True)


def _images(path: Path, layout: MapLayout, arrays: Mapping[str, NDArray[Any]]) -> tuple[MapImage, ...]:
    names, sizes, rows = arrays["names"].tobytes().decode().split("\0"), arrays["sizes"], arrays["point_rows"]
    cameras = read_model_cameras(layout.model)
    counts = {len(arrays[name]) for name in ("poses", "cameras", "sizes", "features", _GLOBAL)} - {0}
    if counts != {len(names)} or sizes.sum() != len(rows) or set(arrays["cameras"].tolist()) - cameras.keys():
        raise MapError(f"{path} contradicts itself")
    if rows.min(initial=NO_POINT) < NO_POINT or rows.max(initial=NO_POINT) >= len(arrays["points"]):
        raise MapError(f"{path} has images of points that it does not hold")
    read = feature_pages(layout.features, names, sizes.tolist(), arrays["features"])
    ends = np.cumsum(sizes)
    return tuple(
        PagedImage(name, SE3.from_matrix(pose), cameras[camera], partial(read, row), rows[end - size : end])
        for row, (name, pose, camera, size, end) in enumerate(
            zip(names, arrays["poses"], arrays["cameras"].tolist(), sizes.tolist(), ends.tolist(), strict=True)
        )
    )


def _version_of(layout: MapLayout, manifest: Manifest) -> bytes:
    """Identifies the map's files by their checksums in the manifest.

    Those of a map of stock hloc, which are not read whole here, by their size and the time at which the system changed
    them last: nobody can set that one, so that other bytes never have it; a copied map gets a new file.
    """
    marks: dict[str, Any] = {}
    for path in filter(is_file, layout.files):
        name, status = path.relative_to(layout.folder).as_posix(), path.stat()
        known = manifest.files.get(name)
        marks[name] = known.sha256 if known else (status.st_size, status.st_ctime_ns)
    return hashlib.sha256(json.dumps([_SCHEMA, marks], sort_keys=True).encode()).digest()


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = arrays[name]
        digest.update(f"{name} {values.shape} ".encode())
        for first in range(0, len(values), _ROWS_AT_ONCE):
            digest.update(np.ascontiguousarray(values[first : first + _ROWS_AT_ONCE]).tobytes())
            release(values)
    return digest.digest()
