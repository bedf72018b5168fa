"""Extractors and matchers by name; torch is imported only when a learned one is made."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable

from visloc_ros.core.errors import ConfigError, ModelError
from visloc_ros.features.config import EXTRACTOR_NAMES, MATCHER_NAMES, FeatureConfig, MatcherConfig
from visloc_ros.features.nearest import NearestMatcher
from visloc_ros.features.types import LocalExtractor, Matcher


def make_extractor(config: FeatureConfig | None = None) -> LocalExtractor:
    """Make a local extractor with its weights loaded.

    Raises ConfigError on an unknown name, ModelError when its packages or weights are missing.
    """
    config = config or FeatureConfig()
    _check_known("extractor", config.name, _EXTRACTORS)
    return _EXTRACTORS[config.name](config)


def make_matcher(config: MatcherConfig | None = None, extractor: str = "aliked-n16") -> Matcher:
    """Make a matcher for the features of the named ``extractor``, with its weights loaded.

    Raises ConfigError on an unknown name, ModelError when its packages or weights are missing.
    """
    config = config or MatcherConfig()
    _check_known("matcher", config.name, _MATCHERS)
    return _MATCHERS[config.name](config, extractor)


def _check_known(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise ConfigError(f"unknown {kind} '{name}'; known: {', '.join(known)}")


def _aliked(config: FeatureConfig) -> LocalExtractor:
    _require(config.name, "torch", "torchvision")
    from visloc_ros.features.backends.aliked import AlikedExtractor

    return AlikedExtractor(config)


def _lightglue(config: MatcherConfig, extractor: str) -> Matcher:
    _require(config.name, "torch")
    from visloc_ros.features.backends.lightglue import LightGlueMatcher

    return LightGlueMatcher(config, extractor)


def _nearest(config: MatcherConfig, extractor: str) -> Matcher:
    return NearestMatcher(config.filter_threshold)


def _require(name: str, *packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ModelError(f"'{name}' needs {' and '.join(missing)}: pip install {' '.join(missing)}")


_EXTRACTORS: dict[str, Callable[[FeatureConfig], LocalExtractor]] = dict.fromkeys(EXTRACTOR_NAMES, _aliked)
_MATCHERS: dict[str, Callable[[MatcherConfig, str], Matcher]] = dict(
    zip(MATCHER_NAMES, (_lightglue, _nearest), strict=True)
)
