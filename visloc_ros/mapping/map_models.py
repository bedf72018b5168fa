"""The models that a map is made with, loaded once for a build, and again for images that are added to it."""

from __future__ import annotations

import logging
import platform
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError, MapError, ModelError
from visloc_ros.core.manifest import Manifest, ModelInfo
from visloc_ros.core.map import Map
from visloc_ros.features import (
    GlobalConfig,
    GlobalDescriptor,
    LocalExtractor,
    Matcher,
    MatcherConfig,
    Vlad,
    is_trained_with_the_map,
    make_extractor,
    make_global_descriptor,
    make_matcher,
)
from visloc_ros.features.nearest_first import NearestFirst
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.parallel import PerThread

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MapModels:
    """Extractor, matcher (one for each thread), and the global descriptor unless it is trained with the map."""

    extractor: LocalExtractor
    matcher: PerThread[Matcher]
    describer: GlobalDescriptor | None


def load_models(config: MappingConfig) -> MapModels:
    """Load the models of a configuration. Raises ConfigError on unknown names, ModelError on missing weights."""
    matcher = PerThread(lambda: load_matcher(config.matcher, config.features.name))
    extractor, describer = load_extractor(config)
    return MapModels(extractor, matcher, describer)


def load_extractor(config: MappingConfig) -> tuple[LocalExtractor, GlobalDescriptor | None]:
    """Load what describes images: the extractor, and the global descriptor as in ``MapModels``. Raises as above."""
    # A network's own threads would only slow the workers down.
    features = replace(config.features, torch_threads=config.features.torch_threads or 1)
    describer = None
    if not is_trained_with_the_map(config.global_descriptor):
        describer = make_global_descriptor(config.global_descriptor)
    return make_extractor(features), describer


def load_matcher(config: MatcherConfig, extractor: str) -> Matcher:
    """Load the matcher of map images, whose features an extractor of this name has made. Raises as above."""
    matcher = make_matcher(config, extractor)
    return NearestFirst(matcher) if config.name == "lightglue" else matcher


def check_weights(info: ModelInfo, sha256: str) -> None:
    """Raise ModelError if a model of a build in parts has other weights here than where the build began."""
    if info.sha256 != sha256:
        raise ModelError(
            f"{platform.node()} has other weights of '{info.name}' than the computer that began the build: give all "
            "computers the same files of weights"
        )


def choose_config(map_: Map, config: MappingConfig | None) -> MappingConfig:
    """The options for adding images: those given, else those that the map was built with.

    Raises ConfigError when the given ones name another extractor than the map's, MapError when the map names none.
    """
    extractor = stated_extractor(map_).name
    if config is None:
        built_with = _options_of(map_.manifest)
        return replace(built_with, features=replace(built_with.features, name=extractor))
    if config.features.name != extractor:
        raise ConfigError(
            f"the map '{map_.name}' was made with '{extractor}', images described by '{config.features.name}' cannot "
            f"be added to it: set features.name to '{extractor}'"
        )
    return config


def load_models_of(map_: Map, config: MappingConfig) -> tuple[MapModels, GlobalDescriptor]:
    """Load the models that made a map, and its global descriptor. Raises MapError when one is not available.

    A map of stock hloc gets VLAD, trained with it, where its own global descriptor is not available.
    """
    try:
        models = load_models(replace(config, global_descriptor=GlobalConfig()))
        describer = _describer_of(map_)
    except (ConfigError, ModelError) as error:
        names = ", ".join(f"'{model.name}'" for model in map_.manifest.models.values())
        raise MapError(
            f"the map '{map_.name}' was made with {names}, not all of which are at hand, so no images can be added to "
            f"it: {error}"
        ) from error
    _check_extractor(map_, models.extractor)
    return models, describer


def global_descriptors(map_: Map, describer: GlobalDescriptor) -> NDArray[np.float32]:
    """Global descriptors (M, G) of a map's images, made again where the map has none of this kind."""
    stated = map_.manifest.models.get("global")
    if stated is not None and stated.name == describer.info.name and map_.global_descriptors.size:
        return map_.global_descriptors
    if not isinstance(describer, Vlad):
        raise MapError(f"the map '{map_.name}' has no global descriptors of '{describer.info.name}': build it again")
    return np.stack([describer.describe_features(image.features) for image in map_.images])


def _describer_of(map_: Map) -> GlobalDescriptor:
    if map_.vlad_centroids.size:
        return Vlad(map_.vlad_centroids)
    stated = map_.manifest.models.get("global")
    try:
        if stated is not None and map_.global_descriptors.size:
            return make_global_descriptor(GlobalConfig(name=stated.name))
    except (ConfigError, ModelError) as error:
        if map_.manifest.config:  # a map of this package, whose index is kept
            raise
        _log.warning("VLAD takes the place of the map's global descriptor, which is not at hand: %s", error)
    return Vlad.train(image.features.descriptors for image in map_.images)


def stated_extractor(map_: Map) -> ModelInfo:
    """The extractor that made a map's features. Raises MapError where it does not say."""
    stated = map_.manifest.models.get("extractor")
    if stated is None:
        raise MapError(f"the map '{map_.name}' does not say which extractor made it: build it again")
    return stated


def _options_of(manifest: Manifest) -> MappingConfig:
    """The options that a map was built with; one without an entry on sparsification was not thinned out."""
    try:
        return MappingConfig.from_mapping({"sparsification": {"target_kb": 0.0}, **manifest.config})
    except ConfigError as error:
        _log.warning("the map was built by another version of this program (%s): the defaults are used", error)
        return MappingConfig()


def _check_extractor(map_: Map, extractor: LocalExtractor) -> None:
    stated = stated_extractor(map_)
    if stated.sha256 and extractor.info.sha256 and stated.sha256 != extractor.info.sha256:
        raise MapError(
            f"the map '{map_.name}' was made with other weights of '{stated.name}' (SHA-256 {stated.sha256[:12]}..., "
            f"here {extractor.info.sha256[:12]}...): use the same weights file"
        )
    lengths = {image.features.descriptors.shape[1] for image in map_.images}
    if lengths != {extractor.descriptor_dim}:
        raise MapError(
            f"the map '{map_.name}' holds descriptors of length {sorted(lengths)}, '{extractor.info.name}' makes "
            f"{extractor.descriptor_dim}: build the map again"
        )
