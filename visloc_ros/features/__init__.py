"""Local features, their matching, and global descriptors: small Protocols, made by name."""

from visloc_ros.features.config import FeatureConfig, GlobalConfig, MatcherConfig, SiftConfig, VladConfig
from visloc_ros.features.registry import (
    is_trained_with_the_map,
    make_extractor,
    make_global_descriptor,
    make_matcher,
)
from visloc_ros.features.types import GlobalDescriptor, LocalExtractor, Matcher, Matches, ModelInfo
from visloc_ros.features.vlad import Vlad
from visloc_ros.features.weights_catalogue import WeightsFile

__all__ = [
    "FeatureConfig",
    "GlobalConfig",
    "GlobalDescriptor",
    "LocalExtractor",
    "Matcher",
    "MatcherConfig",
    "Matches",
    "ModelInfo",
    "SiftConfig",
    "Vlad",
    "VladConfig",
    "WeightsFile",
    "is_trained_with_the_map",
    "make_extractor",
    "make_global_descriptor",
    "make_matcher",
]
