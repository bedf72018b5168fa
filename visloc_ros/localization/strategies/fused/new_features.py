"""The same map with features that are extracted again: for maps whose features come from another detector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from visloc_ros.core.camera import check_image_size
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import NO_POINT, Map, MapImage
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.types import Frame
from visloc_ros.features.types import LocalExtractor
from visloc_ros.localization.strategies.fused.association import NO_KEYPOINT, associate


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
