"""Prepares maps for the search by fused descriptors: those of points, and the parameters to make those of queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from visloc_ros.core.camera import check_image_size
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import NO_POINT, Map, MapImage, open_map
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.map_preparation import add_prepared
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.core.types import Frame
from visloc_ros.features.config import GlobalConfig
from visloc_ros.features.registry import make_extractor, make_global_descriptor
from visloc_ros.features.types import LocalExtractor
from visloc_ros.localization.strategies.fused.config import FUSED, FusedConfig
from visloc_ros.localization.strategies.fused.fused_files import save_fused_map
from visloc_ros.localization.strategies.fused.fused_map import DescribedMap, FusedMap, fuse_map
from visloc_ros.localization.strategies.fused.memory import memory_report
from visloc_ros.localization.strategies.fused.sweep import as_values, best_of, sweep_rho
from visloc_ros.localization.strategies.retrieval.global_index import MakeDescriptor, global_index
from visloc_ros.sources import FrameSource


@dataclass(frozen=True, eq=False)
class PreparedMap:
    """A prepared map: its path, its fused map, and ``figures`` for its manifest."""

    path: Path
    fused: FusedMap
    figures: Mapping[str, Any]


def prepare_fused(
    path: Path,
    config: FusedConfig | None = None,
    progress: Progress | None = None,
    frames: FrameSource | None = None,
    make: MakeDescriptor = make_global_descriptor,
) -> PreparedMap:
    """Write fused descriptors into a map.

    With ``frames``, those that the map was built from, local features are extracted again as ``config.features`` says.
    Raises ConfigError for options that do not suit the map, MapError where it cannot be used, OutputError; the map
    stays as it is until all is done.
    """
    config, progress = config or FusedConfig(), progress or SilentProgress()
    whole = open_map(path)
    fused, figures = make_fused(whole, config, progress, frames, make)
    add_prepared(path, FUSED, partial(_write, fused, whole, figures))
    return PreparedMap(path, fused, figures)


def make_fused(
    whole: Map,
    config: FusedConfig,
    progress: Progress | None = None,
    frames: FrameSource | None = None,
    make: MakeDescriptor = make_global_descriptor,
) -> tuple[FusedMap, dict[str, Any]]:
    """The files of ``prepare_fused``, and their figures."""
    progress, map_ = progress or SilentProgress(), whole
    if frames is not None:
        extractor = make_extractor(config.features)
        map_ = with_new_features(whole, track(progress, "looking at frames", frames, len(frames)), extractor)
    describer, descriptors = global_index(map_, GlobalConfig(), make)
    described = DescribedMap.of(map_, describer, descriptors)
    results = sweep_rho(described, config, progress) if config.sweep else []
    config = replace(config, rho=best_of(results)) if results else config
    fused = fuse_map(described, config)
    return fused, {**_figures(fused, whole), **({"sweep": as_values(results)} if results else {})}


def _figures(fused: FusedMap, whole: Map) -> dict[str, Any]:
    """The prepared map in numbers."""
    return {
        "points": len(fused.codebook),
        "points_percent": round(100.0 * len(fused.codebook) / len(whole.points), 2),
        "frames": len(fused.map.images),
        "rho": fused.config.rho,
        "lam": fused.fusion.lam,
        "reduce": fused.fusion.reducer.kind,
        "index": fused.index,
        "global": fused.image_model.info.name,
        "extractor": asdict(fused.extractor),
        "memory": memory_report(fused, whole),
    }


def _write(fused: FusedMap, whole: Map, figures: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    save_fused_map(folder, fused, whole.manifest)
    return figures


def with_new_features(map_: Map, frames: Iterable[Frame], extractor: LocalExtractor) -> Map:
    """The map of those images that frames show, by name, each observation with the nearest new keypoint.

    A frame is an image's where their names are equal, or equal without folders and suffix. Descriptors of whole images
    that are made of local features are left out: they have to be made again. Raises ConfigError where no frame is in
    the map, CalibrationError where one has another size than its camera.
    """
    rows, images = [], []
    for row, image in _with_image(map_, frames, extractor):
        rows.append(row)
        images.append(image)
    if not images:
        raise ConfigError(
            f"no frame of the source is called as an image of the map '{map_.name}' (such as '{map_.images[0].name}'): "
            "give the folder of the images that it was built from"
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
    """Row and image, with its new features, of every frame that is in the map, the first of each name."""
    row_of: dict[str, int] = {}
    for key in (_stem, str):  # a full name counts more
        row_of |= {key(image.name): row for row, image in reversed(list(enumerate(map_.images)))}
    done: set[int] = set()
    for frame in frames:
        row = row_of.get(frame.name, row_of.get(_stem(frame.name)))
        if row is None or row in done:
            continue
        done.add(row)
        yield row, _with_features(map_.images[row], frame, extractor)


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _with_features(image: MapImage, frame: Frame, extractor: LocalExtractor) -> MapImage:
    """An image with the features of a frame: first those of its observations, then the others, which see no point."""
    check_image_size(image.camera, frame.image.shape[1], frame.image.shape[0])
    features = extractor.extract(frame.image)
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
