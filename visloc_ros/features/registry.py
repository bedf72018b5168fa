"""Extractors, matchers and global descriptors by name; torch is imported only when a learned one is made."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.core.hloc_layout import HLOC
from visloc_ros.core.map_layout import VLAD
from visloc_ros.features.config import (
    ALIKED_NAMES,
    AUTO,
    EXTRACTOR_NAMES,
    GEM_BACKBONES,
    GEM_NAMES,
    GLOBAL_NAMES,
    MATCHER_NAMES,
    XFEAT,
    FeatureConfig,
    GlobalConfig,
    MatcherConfig,
)
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.sift import SiftExtractor
from visloc_ros.features.types import CompareDescriptors, GlobalDescriptor, LocalExtractor, Matcher

_BACKENDS = "visloc_ros.features.backends"


def make_extractor(config: FeatureConfig | None = None) -> LocalExtractor:
    """Make a local extractor with its weights loaded.

    Raises ConfigError on an unknown name, ModelError when its packages or weights are missing.
    """
    config = config or FeatureConfig()
    if config.name.startswith(HLOC):
        return cast(LocalExtractor, _HLOC_EXTRACTOR.make(config))
    _check_known("extractor", config.name, EXTRACTOR_NAMES)
    if config.name == "sift":
        return SiftExtractor(config)
    return cast(LocalExtractor, _EXTRACTORS[config.name].make(config))


def make_matcher(config: MatcherConfig | None = None, extractor: str = "aliked-n16") -> Matcher:
    """Make a matcher for the features of the named ``extractor``, with its weights loaded.

    Raises ConfigError on an unknown name, ModelError when its packages or weights are missing, or when there are no
    weights for this extractor.
    """
    config = config or MatcherConfig()
    if config.name.startswith(HLOC):
        return cast(Matcher, _HLOC_MATCHER.make(config))
    _check_known("matcher", config.name, MATCHER_NAMES)
    if config.name == "nearest":
        return NearestMatcher(config.filter_threshold, config.ratio)
    if extractor == XFEAT:
        return cast(Matcher, _LIGHTERGLUE.make(config))
    return cast(Matcher, _LIGHTGLUE.make(config, extractor))


def nearest_beside(matcher: Matcher) -> NearestMatcher:
    """Matches nearest neighbours where a learned matcher runs: on its GPU, or on the processor."""
    device = _gpu_of(matcher)
    if device is None:
        return NearestMatcher()
    on_gpu: NearestMatcher = importlib.import_module(f"{_BACKENDS}.descriptors_on_gpu").NearestOnGpu(device)
    return on_gpu


def similarity_beside(matcher: Matcher) -> CompareDescriptors | None:
    """Compares descriptors on the GPU that a learned matcher runs on; None where there is none."""
    device = _gpu_of(matcher)
    if device is None:
        return None
    return partial(importlib.import_module(f"{_BACKENDS}.descriptors_on_gpu").SimilarityOnGpu, device)


def _gpu_of(matcher: Matcher) -> Any:
    device = getattr(matcher, "device", None)  # models of other packages need not have one
    return device if getattr(device, "type", "cpu") == "cuda" else None


def is_trained_with_the_map(config: GlobalConfig) -> bool:
    """Whether this descriptor is computed from the map's own features, so that it cannot be made before them."""
    return config.name in (AUTO, VLAD)


def make_global_descriptor(config: GlobalConfig) -> GlobalDescriptor:
    """Make a global descriptor other than VLAD, which is trained with a map, with its weights loaded.

    Raises ConfigError on an unknown name, ModelError when its packages or weights are missing.
    """
    if is_trained_with_the_map(config):
        raise ConfigError("VLAD is trained with a map: name another global descriptor")
    if config.name.startswith(HLOC):
        return cast(GlobalDescriptor, _HLOC_DESCRIPTOR.make(config))
    _check_known("global descriptor", config.name, GLOBAL_NAMES)
    return cast(GlobalDescriptor, _NETWORKS.get(config.name, _HUB_DESCRIPTOR).make(config))


def find_gem_weights(name: str, backbone: str) -> str:
    """Path of the weights of a GeM descriptor with a backbone. Raises ConfigError, ModelError where there are none."""
    _check_known("GeM descriptor", name, GEM_NAMES)
    _check_known("backbone", backbone, GEM_BACKBONES)
    return str(importlib.import_module(f"{_BACKENDS}.gem").find_gem_weights(name, backbone))


def _check_known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ConfigError(f"unknown {kind} '{name}'; known: {', '.join(known)}, and {HLOC}CONF of an installed hloc")


class _Backend(NamedTuple):
    """A class in a module of ``backends``, and the packages it needs, each with what pip installs it from."""

    module: str
    name: str
    needs: Mapping[str, str]
    has_own_weights: bool = False

    def make(self, config: FeatureConfig | MatcherConfig | GlobalConfig, *more: str) -> Any:
        """The model. Raises ModelError where a package is missing, ConfigError for weights in place of its own."""
        missing = [package for package in self.needs if importlib.util.find_spec(package) is None]
        if missing:
            sources = " ".join(self.needs[package] for package in missing)
            raise ModelError(f"'{config.name}' needs {' and '.join(missing)}: pip install {sources}")
        if self.has_own_weights and config.weights:
            raise ConfigError(f"'{config.name}' has its weights from its own package: leave the option 'weights' empty")
        module = importlib.import_module(f"{_BACKENDS}.{self.module}")
        return getattr(module, self.name)(config, *more)


_TORCH = {"torch": "torch"}
_OF_LIGHTGLUE = {**_TORCH, "lightglue": "git+https://github.com/cvg/LightGlue"}
_OF_HLOC = {**_TORCH, "hloc": "git+https://github.com/cvg/Hierarchical-Localization"}
_OF_KORNIA = {**_TORCH, "kornia": "kornia"}
_OF_HUB = {**_TORCH, "torchvision": "torchvision"}

_EXTRACTORS = {
    **dict.fromkeys(ALIKED_NAMES, _Backend("aliked", "AlikedExtractor", _TORCH)),
    "disk": _Backend("disk", "DiskExtractor", _TORCH),
    "superpoint": _Backend("packaged", "PackagedExtractor", _OF_LIGHTGLUE, has_own_weights=True),
    XFEAT: _Backend("packaged", "PackagedExtractor", _OF_KORNIA),
}
_LIGHTGLUE = _Backend("lightglue", "LightGlueMatcher", _TORCH)
_LIGHTERGLUE = _Backend("lighterglue", "LighterGlueMatcher", _OF_KORNIA)
_NETWORKS = {
    "netvlad": _Backend("netvlad", "NetVladDescriptor", _TORCH),
    **dict.fromkeys(GEM_NAMES, _Backend("gem", "GemDescriptor", _OF_HUB)),
}
_HUB_DESCRIPTOR = _Backend("hub_descriptor", "HubDescriptor", _OF_HUB, has_own_weights=True)
_HLOC_EXTRACTOR, _HLOC_MATCHER, _HLOC_DESCRIPTOR = (
    _Backend("hloc", name, _OF_HLOC, has_own_weights=True)
    for name in ("HlocExtractor", "HlocMatcher", "HlocDescriptor")
)
