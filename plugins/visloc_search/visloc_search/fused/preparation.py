"""Prepares maps for the search by fused descriptors: those of points, and the parameters to make those of queries.

The figures of a map give its size, compared with that of hierarchical localization for the same map.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.camera import check_image_size
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import NO_POINT, Map, MapImage, open_map
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.map_preparation import add_prepared
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.core.types import Frame, Image
from visloc_ros.features.registry import make_extractor
from visloc_ros.features.types import LocalExtractor
from visloc_ros.localization.retrieval.global_index import global_index
from visloc_ros.sources import FrameSource
from visloc_search.fused.config import FLOAT16, FUSED, STORAGES, FusedConfig
from visloc_search.fused.fused_files import save_fused_map
from visloc_search.fused.fused_map import DescribedMap, FusedMap, fuse_map


def prepare_fused(
    path: Path,
    config: FusedConfig | None = None,
    progress: Progress | None = None,
    frames: FrameSource | None = None,
) -> dict[str, Any]:
    """Write fused descriptors into a map, and give the figures for its manifest.

    With ``frames``, those that the map was built from, local features are extracted again as ``config.features`` says.
    Raises ConfigError for options that do not suit the map, MapError where it cannot be used, OutputError; the map
    stays as it is until all is done.
    """
    config, progress = config or FusedConfig(), progress or SilentProgress()
    whole = open_map(path, whole=True)
    fused, figures = make_fused(whole, config, progress, frames)
    add_prepared(path, FUSED, whole.manifest, partial(_write, fused, whole, figures))
    return figures


def make_fused(
    whole: Map,
    config: FusedConfig,
    progress: Progress | None = None,
    frames: FrameSource | None = None,
) -> tuple[FusedMap, dict[str, Any]]:
    """The files of ``prepare_fused``, and their figures."""
    progress, map_ = progress or SilentProgress(), whole
    if frames is not None:
        extractor = make_extractor(config.features)
        map_ = with_new_features(whole, track(progress, "looking at frames", frames, len(frames)), extractor)
    describer, descriptors = global_index(map_)
    described = DescribedMap.of(map_, describer, descriptors)
    fused = fuse_map(described, config)
    return fused, _figures(fused, whole)


def _figures(fused: FusedMap, whole: Map) -> dict[str, Any]:
    """The prepared map in numbers."""
    return {
        "points": len(fused.codebook),
        "points_percent": round(100.0 * len(fused.codebook) / len(whole.points), 2),
        "frames": len(fused.map.images),
        "rho": fused.config.rho,
        "reduce": fused.fusion.reducer.kind,
        "index": fused.index,
        "global": fused.image_model.info.name,
        "extractor": asdict(fused.extractor),
        "memory": memory_report(fused, whole),
    }


def _write(fused: FusedMap, whole: Map, figures: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    save_fused_map(folder, fused, whole.manifest)
    return figures


_COORDINATES, _SCALE, _HALF = 12, 4, 2  # bytes
_KEYPOINT = 8  # bytes of its two coordinates
_FRAME = 7 * 8 + 4  # bytes of its pose and the number of its camera


def memory_report(fused: FusedMap, whole: Map) -> dict[str, Any]:
    """Bytes of the parts of a fused map by storage, and of the keypoints and global descriptors of the whole map.

    Hierarchical localization keeps the descriptor of every keypoint in half precision and its position, and the
    descriptors of whole images. Nothing but numbers is counted.
    """
    length, of_image = fused.codebook.length, fused.image_model.length
    keypoints = sum(len(image.features) for image in whole.images)
    hierarchical = keypoints * (length * _HALF + _KEYPOINT) + len(whole.images) * of_image * _HALF
    reports = {storage: _parts(fused, storage) for storage in STORAGES}
    for report in reports.values():
        report["percent_of_hierarchical"] = round(100.0 * report["total"] / hierarchical, 1)
    return {"stored_as": fused.config.storage, **reports, "hierarchical": hierarchical}


def _parts(fused: FusedMap, storage: str) -> dict[str, Any]:
    points, length = len(fused.codebook), fused.codebook.length
    of_point = length * _HALF if storage == FLOAT16 else length + _SCALE
    frames = len(fused.reduced) * (_FRAME + length * _HALF) + fused.point_rows.nbytes + fused.first_row.nbytes
    parts = {
        "codebook": points * of_point,
        "xyz": points * _COORDINATES,
        "frames": frames,
        "globals": fused.sketches.nbytes,
        "projector": fused.fusion.reducer.num_bytes + fused.image_model.vlad_centroids.nbytes,
        "index": sum(one.nbytes for one in fused.learned.values()),
    }
    return {**parts, "total": sum(parts.values())}


def memory_words(report: dict[str, Any]) -> str:
    """The report in a line."""
    own = report[report["stored_as"]]
    others = [f"{report[name]['total'] / 1e6:.2f} MB as {name}" for name in STORAGES if name != report["stored_as"]]
    return (
        f"{own['total'] / 1e6:.2f} MB ({', '.join(others)}), {own['percent_of_hierarchical']:.0f} % of the "
        f"{report['hierarchical'] / 1e6:.2f} MB of the map's keypoints and global descriptors"
    )


def with_new_features(map_: Map, frames: Iterable[Frame], extractor: LocalExtractor) -> Map:
    """The map of those images that frames show, by name, each observation with the nearest new keypoint.

    A frame is an image's where their names are equal, or equal without folders and suffix, and it looks like the
    image's thumbnail; without thumbnails the name must fit one image only. Descriptors of whole images
    that are made of local features are left out: they have to be made again. Raises ConfigError where no frame is in
    the map, CalibrationError where one has another size than its camera.
    """
    rows, images = [], []
    for row, image in _with_image(map_, frames, extractor):
        rows.append(row)
        images.append(image)
    if not images:
        raise ConfigError(
            f"no frame of the source is called as an image of the map '{map_.name}' (such as '{map_.images[0].name}') "
            "and looks like it: give the folder of the images that it was built from"
        )
    stated = map_.manifest.models.get("global")
    models = {**map_.manifest.models, "extractor": extractor.info}
    nothing, by_network = np.empty((0, 0), np.float32), stated is not None and stated.name != VLAD
    if not by_network:
        models.pop("global", None)
    return replace(
        map_,
        manifest=replace(map_.manifest, models=models),
        images=tuple(images),
        global_descriptors=map_.global_descriptors[rows] if by_network and map_.global_descriptors.size else nothing,
        vlad_centroids=nothing,
    )


def _with_image(map_: Map, frames: Iterable[Frame], extractor: LocalExtractor) -> Iterator[tuple[int, MapImage]]:
    """Row and image, with its new features, of every frame that is in the map, the first of each image."""
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(map_.images):
        rows_of[_stem(image.name)].append(row)
    done: set[int] = set()
    for frame in frames:
        shown = _row_of(map_, frame, rows_of[_stem(frame.name)])
        if shown is None or shown in done:
            continue
        done.add(shown)
        image = map_.images[shown]
        yield shown, _with_features(image, _pixels_of(map_, image, frame), extractor)


_SAME_PICTURE = 0.25  # of pictures that have nothing in common, each of normal contrast, the share is 0.56
_GREY_NOISE = 10.0  # levels of both together, as of JPEG in pictures without contrast


def _row_of(map_: Map, frame: Frame, alike: Sequence[int]) -> int | None:
    """The image that a frame shows, of those that are named alike: by its thumbnail, else by the name if one fits."""
    pictures = {row: map_.thumbnails.get(map_.images[row].name) for row in alike}
    if all(pictures.values()):
        contrasts = {row: _contrast_to(picture, frame.grey) for row, picture in pictures.items() if picture}
        best = min(contrasts, key=contrasts.__getitem__, default=None)
        return best if best is not None and contrasts[best] < _SAME_PICTURE else None
    rows = [row for row in alike if map_.images[row].name == frame.name] or alike
    return rows[0] if len(rows) == 1 else None


def _contrast_to(picture: bytes, grey: Image) -> float:
    """Mean difference between a thumbnail and an image, as share of what two pictures of equal contrast differ by."""
    decoded = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    if decoded is None:
        return np.inf
    small = cv2.resize(grey, decoded.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
    return float(np.abs(small - decoded).mean() / (small.std() + decoded.std() + _GREY_NOISE))


def _pixels_of(map_: Map, image: MapImage, frame: Frame) -> Image:
    """The frame's pixels as the map has them: other programs, which keep no thumbnails, read photos as stored."""
    is_of_size = frame.image.shape[1::-1] == (image.camera.width, image.camera.height)
    if image.name in map_.thumbnails or (frame.clockwise_turns % 2 == 1 and is_of_size):
        return frame.image
    stored = np.rot90(frame.image, frame.clockwise_turns)
    return np.ascontiguousarray(np.fliplr(stored) if frame.is_mirrored else stored)


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _with_features(image: MapImage, pixels: Image, extractor: LocalExtractor) -> MapImage:
    """An image with the features of a frame: first those of its observations, then the others, which see no point."""
    check_image_size(image.camera, pixels.shape[1], pixels.shape[0])
    features = extractor.extract(pixels)
    seen = np.flatnonzero(image.point_rows != NO_POINT)
    nearest = associate(image.features.keypoints[seen], features.keypoints)
    found = nearest != NO_KEYPOINT
    others = np.setdiff1d(np.arange(len(features)), nearest[found])
    point_rows = np.concatenate([image.point_rows[seen[found]], np.full(len(others), NO_POINT, np.int32)])
    return replace(
        image,
        features=features.take(np.concatenate([nearest[found], others])),
        point_rows=point_rows.astype(np.int32),
    )


RADIUS_PX = 5.0
"""Farther away a keypoint shows something else (FUSELOC, arXiv 2408.12037)."""

NO_KEYPOINT = -1


def associate(
    observations: NDArray[np.floating], keypoints: NDArray[np.floating], radius_px: float = RADIUS_PX
) -> NDArray[np.intp]:
    """Row of the keypoint (K, 2) nearest to each observation (N, 2), both COLMAP pixels of the image as it was taken.

    NO_KEYPOINT where none is nearer than ``radius_px``. Several observations may take the same keypoint.
    """
    if len(keypoints) == 0 or len(observations) == 0:
        return np.full(len(observations), NO_KEYPOINT, np.intp)
    distances, rows = cKDTree(keypoints).query(observations, distance_upper_bound=radius_px)
    return np.where(np.isfinite(distances), rows, NO_KEYPOINT).astype(np.intp)
