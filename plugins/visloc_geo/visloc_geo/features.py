"""Local features and global descriptors of a database's views: computed once, kept in each view's folder.

The settings that all views share are in ``database.json``, so that a query's image is described as the views are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_geo.database import DATABASE_NAME, GeoDatabase
from visloc_geo.descriptor_files import descriptor_file
from visloc_geo.keypoint_files import read_keypoints, write_keypoints
from visloc_geo.shards import in_shards
from visloc_geo.vocabularies import open_or_make_vlad, open_vlad
from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import GeoError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.files import is_file
from visloc_ros.core.map_layout import VLAD
from visloc_ros.core.progress import Progress
from visloc_ros.core.types import Image
from visloc_ros.execution.content_key import content_of_weights
from visloc_ros.execution.engine import Engine
from visloc_ros.features.config import FeatureConfig, GlobalConfig
from visloc_ros.features.registry import make_extractor, make_global_descriptor
from visloc_ros.features.types import GlobalDescriptor, LocalExtractor, ModelInfo
from visloc_ros.sources.photos import read_photo

Float32 = NDArray[np.float32]
MAX_KEYPOINTS = 1024
"""Of a view by default: a street shows its facades at many sizes, of which a photo from elsewhere has a part."""

_SETTINGS, _GLOBAL = "local_features", "global_descriptors"
_SUPERPOINT, _SUPERPOINT_DIM = "superpoint", 256  # geonavpy's databases have its features, and do not say so
_SHARED = ("name", "max_keypoints", "detection_threshold", "nms_radius", "resize_max")
_WEIGHTS, _CHECKSUM = "weights", "sha256"


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


def feature_config(database: GeoDatabase, device: str = "auto") -> FeatureConfig:
    """How the database's local features are extracted; the defaults while it has none. Raises ConfigError, GeoError."""
    stored = _stored_settings(database) or {"max_keypoints": MAX_KEYPOINTS}
    stored = {key: value for key, value in stored.items() if key != _CHECKSUM}
    return FeatureConfig.from_mapping({**stored, "device": device}, f"{DATABASE_NAME}: {_SETTINGS}.")


def describe_locally(
    database: GeoDatabase,
    config: FeatureConfig | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> int:
    """Compute the local features of the views that have an image and no features yet; gives their number.

    With an ``engine``, many views at once. Raises GeoError where the database has features by other settings,
    SourceError for an image that cannot be read.
    """
    missing = [name for name in _with_image(database) if not is_file(database.keypoints_path(name))]
    config = config or feature_config(database)
    _settle(database, config)
    if not missing:
        return 0
    _settle_weights(database, config, _extractor(config, content_of_weights(config.weights)).info)
    return in_shards(engine, database.folder, _extract, config, "local features", missing, progress)


def describe_globally(
    database: GeoDatabase,
    config: GlobalConfig | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> int:
    """Compute the global descriptors of the views that have an image and none yet; gives their number.

    VLAD is made of local features, which are computed first. With an ``engine``, many views at once. Raises as
    ``describe_locally`` does, and ModelError.
    """
    config = config or GlobalConfig(name=VLAD)
    if config.name == VLAD:
        describe_locally(database, feature_config(database, config.device), progress, engine)
    missing = [name for name in _with_image(database) if descriptor_file(database, name, config.name) is None]
    if not missing:
        return 0
    config = _as_before(database, config)
    descriptor = open_or_make_vlad(database) if config.name == VLAD else make_global_descriptor(config)
    _settle_descriptor(database, config, descriptor.info)
    words = f"descriptors {config.name}"
    return in_shards(engine, database.folder, _describe_shard, config, words, missing, progress)


def _extract(config: FeatureConfig, folder: Path, names: Sequence[str]) -> None:
    database, extractor = GeoDatabase(folder), _extractor(config, content_of_weights(config.weights))
    for name in names:
        features = extractor.extract(load_image(database, name))
        write_keypoints(database.keypoints_path(name), features, config.name)


def _describe_shard(config: GlobalConfig, folder: Path, names: Sequence[str]) -> None:
    database, descriptor = GeoDatabase(folder), _descriptor(config, folder, content_of_weights(config.weights))
    for name in names:
        vector = _describe(database, name, descriptor, config.name == VLAD)
        with atomic_write(database.descriptor_path(name, config.name)) as path, path.open("wb") as file:
            np.save(file, vector[None])


@lru_cache(maxsize=1)  # a worker does many shards
def _extractor(config: FeatureConfig, _: str) -> LocalExtractor:
    return make_extractor(config)


@lru_cache(maxsize=1)
def _descriptor(config: GlobalConfig, folder: Path, _: str) -> GlobalDescriptor:
    return open_vlad(GeoDatabase(folder)) if config.name == VLAD else make_global_descriptor(config)


class ImageDescriber:
    """Describes images of queries as a database's views are described; models are loaded once."""

    def __init__(self, database: GeoDatabase, config: GlobalConfig | None = None) -> None:
        """Raises GeoError, ConfigError or ModelError."""
        config = _as_before(database, config or GlobalConfig(name=VLAD))
        self._extractor = make_extractor(feature_config(database, config.device))
        _check_same_weights(database, self._extractor.info)
        self._descriptor = open_vlad(database) if config.name == VLAD else make_global_descriptor(config)
        _check_same(database, self._descriptor.info)

    def describe(self, image: Image) -> tuple[LocalFeatures, Float32]:
        """Local features and the unit vector (G,) of a uint8 image, (H, W) grey or (H, W, 3) RGB."""
        features = self._extractor.extract(image)
        return features, np.asarray(self._descriptor.describe(image, features), np.float32)


def _with_image(database: GeoDatabase) -> list[str]:
    return [name for name in database.names if is_file(database.image_path(name))]


def _settle(database: GeoDatabase, config: FeatureConfig) -> None:
    """Store the settings of the first local features. Raises GeoError where there are features by others."""
    wanted, known = {key: asdict(config)[key] for key in _SHARED}, _stored_settings(database)
    weights = {key: known[key] for key in (_WEIGHTS, _CHECKSUM) if key in known}
    stored = {key: value for key, value in known.items() if key not in weights}
    differing = [f"{key} {value}" for key, value in stored.items() if value != wanted.get(key)]
    if differing and _first_keypoints(database) is not None:
        raise GeoError(
            f"the local features of {database.folder} were made with {', '.join(differing)}: give the same settings"
        )
    if wanted != stored:
        database.write_settings(**{_SETTINGS: {**wanted, **weights}})


def _settle_weights(database: GeoDatabase, config: FeatureConfig, info: ModelInfo) -> None:
    """Store which weights the first local features were made with. Raises GeoError where there are some by others."""
    if _first_keypoints(database) is not None:
        _check_same_weights(database, info)
    mine = {_WEIGHTS: config.weights, _CHECKSUM: info.sha256}
    database.write_settings(**{_SETTINGS: {**_stored_settings(database), **mine}})


def _check_same_weights(database: GeoDatabase, info: ModelInfo) -> None:
    """Raise GeoError where the extractor has other weights than the local features' (an older database has none)."""
    if _section(database, _SETTINGS).get(_CHECKSUM, info.sha256) != info.sha256:
        raise GeoError(
            f"the local features '{info.name}' of {database.folder} were made with other weights: give the same ones, "
            f"or remove all keypoints.npz and the entry '{_SETTINGS}' in {DATABASE_NAME}"
        )


def _stored_settings(database: GeoDatabase) -> dict[str, Any]:
    """The settings in ``database.json``, or what the features of others show of theirs; empty without either."""
    stored = _section(database, _SETTINGS)
    first = None if stored else _first_keypoints(database)
    if first is None:
        return stored
    features, model = read_keypoints(first, (0, 0))
    name = model or (_SUPERPOINT if features.descriptors.shape[1] == _SUPERPOINT_DIM else "")
    if not name:
        raise GeoError(
            f"{first} does not say which model found its keypoints: add '{_SETTINGS}' with 'name' to {DATABASE_NAME}"
        )
    return {"name": name}


def _section(database: GeoDatabase, name: str) -> dict[str, Any]:
    section = database.settings().get(name, {})
    if not isinstance(section, dict) or not all(isinstance(one, dict) for one in section.values() if name == _GLOBAL):
        raise GeoError(f"'{name}' in {database.folder / DATABASE_NAME} is no object of keys and values")
    return section


def _first_keypoints(database: GeoDatabase) -> Path | None:
    return next((path for path in map(database.keypoints_path, database.names) if is_file(path)), None)


def _as_before(database: GeoDatabase, config: GlobalConfig) -> GlobalConfig:
    """The settings with what they leave to the database: weights and size of the descriptors that it has."""
    stored = _section(database, _GLOBAL).get(config.name, {})
    weights, resize_max = stored.get("weights", ""), stored.get("resize_max", 0)
    return replace(config, weights=config.weights or weights, resize_max=config.resize_max or resize_max)


def _settle_descriptor(database: GeoDatabase, config: GlobalConfig, info: ModelInfo) -> None:
    """Store which weights the first descriptor was made with. Raises GeoError where there are some by others."""
    _check_same(database, info)
    mine = {"weights": config.weights, "resize_max": config.resize_max, "sha256": info.sha256}
    database.write_settings(**{_GLOBAL: {**_section(database, _GLOBAL), config.name: mine}})


def _check_same(database: GeoDatabase, info: ModelInfo) -> None:
    stored = _section(database, _GLOBAL).get(info.name, {})
    if stored.get("sha256", info.sha256) != info.sha256:
        raise GeoError(
            f"the descriptors '{info.name}' of {database.folder} were made with other weights: give the same ones, or "
            f"remove all {info.name}_descriptor.npy and the entry in {DATABASE_NAME}"
        )


def _describe(database: GeoDatabase, name: str, descriptor: GlobalDescriptor, by_features: bool) -> Float32:
    if by_features:
        features = load_keypoints(database, name)
        return np.asarray(descriptor.describe(np.empty((0, 0), np.uint8), features), np.float32)
    image = load_image(database, name)
    empty = np.empty((0, 2), np.float32)
    features = LocalFeatures(empty, empty[:, 0], empty, (image.shape[1], image.shape[0]))
    return np.asarray(descriptor.describe(image, features), np.float32)
