"""Local features, their matching, and one vector for a whole image: small Protocols, made by name."""

from visloc_ros.features.config import FeatureConfig, MatcherConfig, VladConfig
from visloc_ros.features.registry import make_extractor, make_matcher
from visloc_ros.features.types import GlobalDescriptor, LocalExtractor, Matcher, Matches, ModelInfo
from visloc_ros.features.vlad import Vlad

__all__ = [
    "FeatureConfig",
    "GlobalDescriptor",
    "LocalExtractor",
    "Matcher",
    "MatcherConfig",
    "Matches",
    "ModelInfo",
    "Vlad",
    "VladConfig",
    "make_extractor",
    "make_matcher",
]
