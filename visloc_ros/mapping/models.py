"""The models that a map is made with, loaded once for a build."""

from __future__ import annotations

from dataclasses import dataclass, replace

from visloc_ros.features import (
    GlobalDescriptor,
    LocalExtractor,
    Matcher,
    is_trained_with_the_map,
    make_extractor,
    make_global_descriptor,
    make_matcher,
)
from visloc_ros.mapping.config import MappingConfig
from visloc_ros.mapping.parallel import PerThread


@dataclass(frozen=True, eq=False)
class MapModels:
    """Extractor, matcher (one for each thread), and the global descriptor unless it is trained with the map."""

    extractor: LocalExtractor
    matcher: PerThread[Matcher]
    describer: GlobalDescriptor | None


def load_models(config: MappingConfig) -> MapModels:
    """Load the models of a configuration. Raises ConfigError on unknown names, ModelError on missing weights."""
    # A network's own threads would only slow the workers down.
    features = replace(config.features, torch_threads=config.features.torch_threads or 1)
    describer = None
    if not is_trained_with_the_map(config.global_descriptor):
        describer = make_global_descriptor(config.global_descriptor)
    matcher: PerThread[Matcher] = PerThread(lambda: make_matcher(config.matcher, config.features.name))
    return MapModels(make_extractor(features), matcher, describer)
