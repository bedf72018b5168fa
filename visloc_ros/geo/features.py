"""Local features and global descriptors of a database's views: computed once, kept in each view's folder.

The settings that all views share are in ``database.json``, so that a query's image is described as the views are.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import GeoError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.files import is_file
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.progress import Progress, SilentProgress, track
from visloc_ros.core.types import Image
from visloc_ros.features.config import FeatureConfig, GlobalConfig
from visloc_ros.features.registry import make_extractor, make_global_descriptor
from visloc_ros.features.types import GlobalDescriptor
from visloc_ros.geo.array_files import COMPUTE_AGAIN, read_arrays
from visloc_ros.geo.database import DATABASE_NAME, GeoDatabase
from visloc_ros.geo.keypoint_files import read_keypoints, write_keypoints
from visloc_ros.geo.vocabularies import open_or_make_vlad, open_vlad
from visloc_ros.sources.photos import read_photo

Float32 = NDArray[np.float32]
MAX_KEYPOINTS = 1024
"""Of a view by default: a street shows its facades at many sizes, of which a photo from elsewhere has a part."""

_SETTINGS = "local_features"
_SHARED = ("name", "max_keypoints", "detection_threshold", "nms_radius", "resize_max")


def load_image(database: GeoDatabase, name: str) -> Image:
    """The image of a view, upright. Raises GeoError where its size is not that of its metadata, SourceError."""
    image = read_photo(database.image_path(name))
    camera = database.view(name).camera
    if camera is not None and (camera.width, camera.height) != (image.shape[1], image.shape[0]):
        raise GeoError(
            f"the image of '{name}' has {image.shape[1]}x{image.shape[0]} pixels, its metadata say "
            f"{camera.width}x{camera.height}: correct 'w', 'h' and 'K', or fetch the image again"
        )
    return image


def load_keypoints(database: GeoDatabase, name: str) -> LocalFeatures:
    """The local features of a view, keypoints in COLMAP pixels. Raises GeoError."""
    camera = database.view(name).camera
    size = None if camera is None else (camera.width, camera.height)
    return read_keypoints(database.keypoints_path(name), size)[0]


def load_descriptors(database: GeoDatabase, model: str = VLAD) -> tuple[list[str], Float32]:
    """Names of the views that a model has described, and their unit vectors (N, G). Raises GeoError without any."""
    names, rows = [], []
    for name in database.names:
        path = _descriptor_file(database, name, model)
        if path is not None:
            names.append(name)
            rows.append(_read_descriptor(path))
    if not names:
        raise GeoError(
            f"no view of {database.folder} has a descriptor '{model}': run 'visloc geo global-descriptors "
            f"{database.folder} --descriptor-type {model}'"
        )
    lengths = {len(row) for row in rows}
    if len(lengths) > 1:
        raise GeoError(f"the descriptors '{model}' in {database.folder} have {sorted(lengths)} values: remove the old")
    matrix = np.stack(rows)
    return names, np.asarray(matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12), np.float32)


def feature_config(database: GeoDatabase, device: str = "auto") -> FeatureConfig:
    """How the database's local features are extracted; the defaults while it has none. Raises ConfigError."""
    stored = database.settings().get(_SETTINGS, {"max_keypoints": MAX_KEYPOINTS})
    return FeatureConfig.from_mapping({**stored, "device": device}, f"{DATABASE_NAME}: {_SETTINGS}.")


def describe_locally(
    database: GeoDatabase, config: FeatureConfig | None = None, progress: Progress | None = None
) -> int:
    """Compute the local features of the views that have an image and no features yet; gives their number.

    Raises GeoError where the database has features by other settings, SourceError for an image that cannot be read.
    """
    missing = [name for name in _with_image(database) if not is_file(database.keypoints_path(name))]
    config = config or feature_config(database)
    _settle(database, config)
    if not missing:
        return 0
    extractor = make_extractor(config)
    for name in track(progress or SilentProgress(), "local features", missing, len(missing)):
        features = extractor.extract(load_image(database, name))
        write_keypoints(database.keypoints_path(name), features, config.name)
    return len(missing)


def describe_globally(
    database: GeoDatabase, config: GlobalConfig | None = None, progress: Progress | None = None
) -> int:
    """Compute the global descriptors of the views that have an image and none yet; gives their number.

    VLAD is made of local features, which are computed first. Raises as ``describe_locally`` does, and ModelError.
    """
    config = config or GlobalConfig(name=VLAD)
    if config.name == VLAD:
        describe_locally(database, feature_config(database, config.device), progress)
    missing = [name for name in _with_image(database) if _descriptor_file(database, name, config.name) is None]
    if not missing:
        return 0
    descriptor = open_or_make_vlad(database) if config.name == VLAD else make_global_descriptor(config)
    for name in track(progress or SilentProgress(), f"descriptors {config.name}", missing, len(missing)):
        vector = _describe(database, name, descriptor, config.name == VLAD)
        with atomic_write(database.descriptor_path(name, config.name)) as path, path.open("wb") as file:
            np.save(file, vector[None])
    return len(missing)


class ImageDescriber:
    """Describes images of queries as a database's views are described; models are loaded once."""

    def __init__(self, database: GeoDatabase, config: GlobalConfig | None = None) -> None:
        """Raises GeoError, ConfigError or ModelError."""
        config = config or GlobalConfig(name=VLAD)
        self._extractor = make_extractor(feature_config(database, config.device))
        self._descriptor = open_vlad(database) if config.name == VLAD else make_global_descriptor(config)

    def describe(self, image: Image) -> tuple[LocalFeatures, Float32]:
        """Local features and the unit vector (G,) of a uint8 image, (H, W) grey or (H, W, 3) RGB."""
        features = self._extractor.extract(image)
        return features, np.asarray(self._descriptor.describe(image, features), np.float32)


def _with_image(database: GeoDatabase) -> list[str]:
    return [name for name in database.names if is_file(database.image_path(name))]


def _settle(database: GeoDatabase, config: FeatureConfig) -> None:
    """Store the settings of the first local features. Raises GeoError where there are features by others."""
    wanted = {key: asdict(config)[key] for key in _SHARED}
    stored: dict[str, Any] | None = database.settings().get(_SETTINGS)
    if stored is None or not any(is_file(database.keypoints_path(name)) for name in database.names):
        database.write_settings(**{_SETTINGS: wanted})
    elif stored != wanted:
        differing = ", ".join(f"{key} {stored.get(key)}" for key in _SHARED if stored.get(key) != wanted[key])
        raise GeoError(f"the local features of {database.folder} were made with {differing}: give the same settings")


def _describe(database: GeoDatabase, name: str, descriptor: GlobalDescriptor, by_features: bool) -> Float32:
    if by_features:
        features = load_keypoints(database, name)
        return np.asarray(descriptor.describe(np.empty((0, 0), np.uint8), features), np.float32)
    image = load_image(database, name)
    empty = np.empty((0, 2), np.float32)
    features = LocalFeatures(empty, empty[:, 0], empty, (image.shape[1], image.shape[0]))
    return np.asarray(descriptor.describe(image, features), np.float32)


def _descriptor_file(database: GeoDatabase, name: str, model: str) -> Path | None:
    """The file of a view's descriptor: .npy as written here, or .npz as others do."""
    path = database.descriptor_path(name, model)
    return next((one for one in (path, path.with_suffix(".npz")) if is_file(one)), None)


def _read_descriptor(path: Path) -> Float32:
    """The values (G,) of a file. Raises GeoError."""
    arrays = list(read_arrays(path).values())
    is_one = len(arrays) == 1 and arrays[0].dtype.kind in "fiu"
    vector = np.asarray(arrays[0], np.float32).ravel() if is_one else np.empty(0, np.float32)
    if not len(vector) or not np.isfinite(vector).all():
        raise GeoError(f"cannot use {path}: it is no vector of finite numbers{COMPUTE_AGAIN}")
    return vector
