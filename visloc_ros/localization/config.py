"""Options of the anchor engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from visloc_ros.core.config import Config, option, plugin_sections, section
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.plugins import HINT, importable_plugins, plugin_names
from visloc_ros.features.config import FeatureConfig, GlobalConfig, MatcherConfig

SEARCH_GROUP, RETRIEVAL = "visloc_ros.search", "retrieval"


def search_names() -> list[str]:
    """Installed ways of searching, the default first; the files that one prepares in a map have its name, too."""
    return plugin_names(SEARCH_GROUP, RETRIEVAL)


def check_search(name: str) -> None:
    """Raise ConfigError for a way of searching that is not installed."""
    if name not in search_names():
        raise ConfigError(f"there is no way of searching '{name}'; known: {', '.join(search_names())}; {HINT}")


def _options_of_strategies() -> dict[str, type[Config]]:
    loaded = importable_plugins(SEARCH_GROUP, RETRIEVAL)
    return {name: strategy.options for name, strategy in loaded.items() if strategy.options is not None}


@dataclass(frozen=True)
class PoseConfig(Config):
    """Options of computing a pose from 2D-3D correspondences."""

    max_error_px: float = option(8.0, "Largest reprojection error of an inlier [px].", minimum=0.5)
    min_iterations: int = option(100, "Least number of RANSAC iterations.", minimum=1)
    loss_scale_px: float = option(2.0, "Scale of the Cauchy loss in the refinement [px].", minimum=0.1)
    min_sigma_px: float = option(0.5, "Least keypoint noise that the covariance assumes [px].", minimum=0.01)
    shared_error: float = option(
        1.0, "Correlation of the errors of neighbouring keypoints; 0 for independent errors.", minimum=0.0, maximum=1.0
    )
    seed: int = option(0, "Seed of RANSAC; the same frame gives the same pose.", minimum=0)


@dataclass(frozen=True)
class GuidedConfig(Config):
    """Options of searching map points around their projections by a pose, predicted or found by matching."""

    enabled: bool = option(True, "Search map points around a predicted pose, and around one found by matching.")
    references: int = option(
        10, "Number of map images, those with the most overlap, whose points are searched.", minimum=1
    )
    window: float = option(
        0.075,
        "Half side of the search window around a projected point, as a share of the image diagonal.",
        minimum=0.001,
    )
    min_inliers: int = option(50, "Least number of inliers; with fewer, reference images are matched.", minimum=4)


@dataclass(frozen=True)
class AnchorConfig(Config):
    """Options of finding an image in the map."""

    search: str = option(
        RETRIEVAL, "Way of searching; others than retrieval need a map prepared for it.", choices=search_names
    )
    strategies: Mapping[str, Config] = plugin_sections(_options_of_strategies)
    features: FeatureConfig = section(FeatureConfig)
    matcher: MatcherConfig = section(MatcherConfig)
    global_descriptor: GlobalConfig = section(GlobalConfig)
    guided: GuidedConfig = section(GuidedConfig)
    pose: PoseConfig = section(PoseConfig)
    top_k: int = option(5, "Largest number of map images by global descriptor that are matched.", minimum=1)
    top_k_expected: int = option(
        3, "Number of map images in view of a predicted pose that are matched first.", minimum=0
    )
    min_shared_points: int = option(
        10,
        "Map images that share at least this many points are localized together (covisibility clustering).",
        minimum=0,
    )
    nearest_first: bool = option(
        True,
        "Match nearest neighbours first, and by a learned matcher only what they leave in doubt; needs guided.enabled.",
    )
    min_matches: int = option(20, "Least number of 2D-3D correspondences of a pose.", minimum=4)
    max_risk: float = option(
        0.025,
        "Largest probability that an accepted pose is wrong, if every second image showed another place.",
        minimum=0.0,
        maximum=1.0,
    )
    stop_inliers: int = option(150, "Matching ends early at this many inliers with a spread of stop_spread.", minimum=4)
    stop_spread: float = option(
        0.1,
        "Spread of the inliers at which matching ends early: their least standard deviation in any direction, as a "
        "share of the image diagonal.",
        minimum=0.0,
    )
