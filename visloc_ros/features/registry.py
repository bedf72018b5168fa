"""Extractors, matchers and global descriptors by name; torch is imported only when a learned one is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.hloc_layout import HLOC
from visloc_ros.core.map_layout import VLAD
from visloc_ros.features.config import (
    ALIKED_NAMES,
    AUTO,
    EXTRACTOR_NAMES,
    GLOBAL_NAMES,
    MATCHER_NAMES,
    FeatureConfig,
    GlobalConfig,
    MatcherConfig,
)
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.sift import SiftExtractor
from visloc_ros.features.types import GlobalDescriptor, LocalExtractor, Matcher
from visloc_ros.features.vlad import Vlad

_LIGHTGLUE_SOURCE = "git+https://github.com/cvg/LightGlue"
_HLOC_SOURCE = "git+https://github.com/cvg/Hierarchical-Localization"


def make_extractor(config: FeatureConfig | None = None) -> LocalExtractor:
    """Make a local extractor with its weights loaded.

    Raises ConfigError on an unknown name, ModelError when its packages or weights are missing.
    """
    config = config or FeatureConfig()
    if config.name.startswith(HLOC):
        return _hloc_extractor(config)
    _check_known("extractor", config.name, EXTRACTOR_NAMES)
    return _EXTRACTORS[config.name](config)


def make_matcher(config: MatcherConfig | None = None, extractor: str = "aliked-n16") -> Matcher:
    """Make a matcher for the features of the named ``extractor``, with its weights loaded.

    Raises ConfigError on an unknown name, ModelError when its packages or weights are missing, or when there are no
    weights for this extractor.
    """
    config = config or MatcherConfig()
    if config.name.startswith(HLOC):
        return _hloc_matcher(config)
    _check_known("matcher", config.name, MATCHER_NAMES)
    return _MATCHERS[config.name](config, extractor)


def is_trained_with_the_map(config: GlobalConfig) -> bool:
    """Whether this descriptor is computed from the map's own features, so that it cannot be made before them."""
    return config.name in (AUTO, VLAD)


def make_global_descriptor(
    config: GlobalConfig | None = None, centroids: NDArray[np.floating] | None = None
) -> GlobalDescriptor:
    """Make a global descriptor with its weights loaded; VLAD takes its codebook ``centroids`` (C, D) from the map.

    Raises ConfigError on an unknown name, ModelError when its packages or weights are missing.
    """
    config = config or GlobalConfig()
    if is_trained_with_the_map(config):
        if centroids is None or not centroids.size:
            raise ConfigError("VLAD is trained with a map: give its codebook, or name another global descriptor")
        return Vlad(centroids)
    if config.name.startswith(HLOC):
        return _hloc_descriptor(config)
    _check_known("global descriptor", config.name, GLOBAL_NAMES)
    return _netvlad(config) if config.name == "netvlad" else _hub_descriptor(config)


def _check_known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ConfigError(f"unknown {kind} '{name}'; known: {', '.join(known)}, and {HLOC}CONF of an installed hloc")


def _aliked(config: FeatureConfig) -> LocalExtractor:
    _require(config.name, "torch")
    from visloc_ros.features.backends.aliked import AlikedExtractor

    return AlikedExtractor(config)


def _disk(config: FeatureConfig) -> LocalExtractor:
    _require(config.name, "torch")
    from visloc_ros.features.backends.disk import DiskExtractor

    return DiskExtractor(config)


def _superpoint(config: FeatureConfig) -> LocalExtractor:
    _require(config.name, "torch", lightglue=_LIGHTGLUE_SOURCE)
    return _packaged(config)


def _xfeat(config: FeatureConfig) -> LocalExtractor:
    _require(config.name, "torch", "kornia")
    return _packaged(config)


def _packaged(config: FeatureConfig) -> LocalExtractor:
    _refuse_weights(config)
    from visloc_ros.features.backends.packaged import PackagedExtractor

    return PackagedExtractor(config)


def _hloc_extractor(config: FeatureConfig) -> LocalExtractor:
    _require(config.name, "torch", hloc=_HLOC_SOURCE)
    _refuse_weights(config)
    from visloc_ros.features.backends.hloc_extractor import HlocExtractor

    return HlocExtractor(config)


def _hloc_matcher(config: MatcherConfig) -> Matcher:
    _require(config.name, "torch", hloc=_HLOC_SOURCE)
    _refuse_weights(config)
    from visloc_ros.features.backends.hloc_matcher import HlocMatcher

    return HlocMatcher(config)


def _hloc_descriptor(config: GlobalConfig) -> GlobalDescriptor:
    _require(config.name, "torch", hloc=_HLOC_SOURCE)
    _refuse_weights(config)
    from visloc_ros.features.backends.hloc_descriptor import HlocDescriptor

    return HlocDescriptor(config)


def _netvlad(config: GlobalConfig) -> GlobalDescriptor:
    _require(config.name, "torch")
    from visloc_ros.features.backends.netvlad import NetVladDescriptor

    return NetVladDescriptor(config)


def _hub_descriptor(config: GlobalConfig) -> GlobalDescriptor:
    _require(config.name, "torch", "torchvision")
    _refuse_weights(config)
    from visloc_ros.features.backends.hub_descriptor import HubDescriptor

    return HubDescriptor(config)


def _lightglue(config: MatcherConfig, extractor: str) -> Matcher:
    _require(config.name, "torch")
    from visloc_ros.features.backends.lightglue import LightGlueMatcher

    return LightGlueMatcher(config, extractor)


def _nearest(config: MatcherConfig, extractor: str) -> Matcher:
    return NearestMatcher(config.filter_threshold, config.ratio)


def _require(name: str, *packages: str, **sources: str) -> None:
    """Refuse a model whose ``packages``, or those that are installed from ``sources``, are missing."""
    installed_from = {**{package: package for package in packages}, **sources}
    missing = [package for package in installed_from if importlib.util.find_spec(package) is None]
    if missing:
        sources_of_missing = " ".join(installed_from[package] for package in missing)
        raise ModelError(f"'{name}' needs {' and '.join(missing)}: pip install {sources_of_missing}")


def _refuse_weights(config: FeatureConfig | MatcherConfig | GlobalConfig) -> None:
    if config.weights:
        raise ConfigError(f"'{config.name}' has its weights from its own package: leave the option 'weights' empty")


_EXTRACTORS: dict[str, Callable[[FeatureConfig], LocalExtractor]] = {
    **dict.fromkeys(ALIKED_NAMES, _aliked),
    "disk": _disk,
    "sift": SiftExtractor,
    "superpoint": _superpoint,
    "xfeat": _xfeat,
}
_MATCHERS: dict[str, Callable[[MatcherConfig, str], Matcher]] = {"lightglue": _lightglue, "nearest": _nearest}
