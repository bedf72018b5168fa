"""A map's index of global descriptors: which of its images look like the query."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError, ManifestError, ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.hloc_layout import HLOC
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.core.map import Map
from visloc_ros.core.map_layout import VLAD
from visloc_ros.features.config import AUTO, GlobalConfig
from visloc_ros.features.registry import make_global_descriptor
from visloc_ros.features.types import GlobalDescriptor
from visloc_ros.features.vlad import Vlad
from visloc_ros.localization.models import check_weights

MakeDescriptor = Callable[[GlobalConfig], GlobalDescriptor]

_log = logging.getLogger(__name__)

_MADE_BY_HLOC = "hloc"
_HLOC_RESIZE_MAX = 1024
_PROBE_SIDE = 128


def global_index(
    map_: Map, config: GlobalConfig | None = None, make: MakeDescriptor = make_global_descriptor
) -> tuple[GlobalDescriptor, NDArray[np.floating]]:
    """A descriptor for queries and the map's global descriptors (M, G) of the same kind.

    The descriptor is the map's own. The images are indexed again with VLAD, from their local descriptors, if ``config``
    names ``vlad``, and in a map of stock hloc whose network is not installed. ``make`` loads a network. Raises
    ManifestError where ``config`` names another descriptor or where the map's cannot be made.
    """
    config = config or GlobalConfig()
    stated = map_.manifest.models.get("global")
    _check_name(map_, stated, config)
    if config.name == VLAD and not map_.vlad_centroids.size:
        return _index_again(map_, "as asked")
    if map_.vlad_centroids.size:
        return _stored_vlad(map_)
    if stated is None or not map_.global_descriptors.size:
        return _index_again(map_, "it has no global descriptors")
    if map_.manifest.created_from == _MADE_BY_HLOC:
        return _descriptor_of_hloc(map_, stated, config, make)
    return _stored_descriptors(map_, stated, replace(config, name=stated.name), make)


def _check_name(map_: Map, stated: ModelInfo | None, config: GlobalConfig) -> None:
    own = stated.name if stated else VLAD
    if config.name.removeprefix(HLOC) not in (AUTO, VLAD, own.removeprefix(HLOC)):
        raise ManifestError(
            f"the map '{map_.name}' has global descriptors of '{own}', not '{config.name}': set global_descriptor.name "
            f"to '{own}', or to 'vlad' to index the map again, or build it again"
        )


def _stored_vlad(map_: Map) -> tuple[GlobalDescriptor, NDArray[np.floating]]:
    vlad = Vlad(map_.vlad_centroids)
    if map_.global_descriptors.shape != (len(map_.images), vlad.centroids.size):
        raise ManifestError(f"the global descriptors of the map '{map_.name}' do not fit its codebook: build it again")
    return vlad, _stored(map_)


def _stored(map_: Map) -> NDArray[np.floating]:
    """The map's own descriptors: as they are where they are mapped from a file."""
    known = map_.global_descriptors
    return known if isinstance(known, np.memmap) else np.ascontiguousarray(known, dtype=np.float32)


def _index_again(map_: Map, why: str) -> tuple[GlobalDescriptor, NDArray[np.floating]]:
    _log.info("the map '%s' is indexed again with VLAD: %s", map_.name, why)
    vlad = Vlad.train(image.features.descriptors for image in map_.images)
    return vlad, np.stack([vlad.describe_features(image.features) for image in map_.images])


def _descriptor_of_hloc(
    map_: Map, stated: ModelInfo, config: GlobalConfig, make: MakeDescriptor
) -> tuple[GlobalDescriptor, NDArray[np.floating]]:
    """The describer of an installed hloc, else the same network of this package, else VLAD unless one is named."""
    own = replace(config, name=stated.name.removeprefix(HLOC), resize_max=config.resize_max or _HLOC_RESIZE_MAX)
    reasons = []
    for candidate in (replace(config, name=stated.name), own):
        try:
            return _check_length(map_, make(candidate))
        except (ConfigError, ModelError) as error:
            reasons.append(str(error))
    if config.name != AUTO:
        raise _cannot_be_made(map_, stated, "; ".join(reasons))
    return _index_again(map_, "; ".join(reasons))


def _stored_descriptors(
    map_: Map, stated: ModelInfo, config: GlobalConfig, make: MakeDescriptor
) -> tuple[GlobalDescriptor, NDArray[np.floating]]:
    try:
        describer = make(config)
    except (ConfigError, ModelError) as error:
        raise _cannot_be_made(map_, stated, str(error)) from error
    check_weights(map_, stated, describer.info)
    return _check_length(map_, describer)


def _cannot_be_made(map_: Map, stated: ModelInfo, reason: str) -> ManifestError:
    return ManifestError(
        f"the map '{map_.name}' has global descriptors of '{stated.name}', which cannot be made here: {reason}; or "
        "set global_descriptor.name to 'vlad' to index the map again from its local features"
    )


def _check_length(map_: Map, describer: GlobalDescriptor) -> tuple[GlobalDescriptor, NDArray[np.floating]]:
    """Refuse a descriptor of another length than the map's."""
    stored = _stored(map_)
    image = np.random.default_rng(0).integers(0, 256, (_PROBE_SIDE, _PROBE_SIDE, 3), np.uint8)
    empty = np.empty(0, np.float32)
    nothing = LocalFeatures(empty.reshape(0, 2), empty, empty.reshape(0, 1), (_PROBE_SIDE, _PROBE_SIDE))
    length = len(describer.describe(image, nothing))
    if stored.shape != (len(map_.images), length):
        raise ManifestError(
            f"the map '{map_.name}' has global descriptors of length {stored.shape[1]}, '{describer.info.name}' makes "
            f"{length}: set global_descriptor.name to 'vlad' to index the map again, or build it again"
        )
    return describer, stored
