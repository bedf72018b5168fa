"""Options of the anchor engine."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.features.config import FeatureConfig, MatcherConfig


@dataclass(frozen=True)
class PoseConfig(Config):
    """How a pose is computed from 2D-3D correspondences."""

    max_error_px: float = option(8.0, "largest reprojection error of an inlier [px]", minimum=0.5)
    confidence: float = option(0.9999, "RANSAC stops at this confidence", minimum=0.5, maximum=1.0)
    max_iterations: int = option(10_000, "RANSAC iterations at most", minimum=10)
    loss_scale_px: float = option(2.0, "Cauchy loss scale of the refinement [px]", minimum=0.1)
    min_sigma_px: float = option(0.5, "least keypoint noise assumed by the covariance [px]", minimum=0.01)
    shared_error: float = option(
        1.0, "correlation of the errors of keypoints close together; 0 for independent ones", minimum=0.0, maximum=1.0
    )
    seed: int = option(0, "seed of RANSAC: the same frame gives the same pose", minimum=0)


@dataclass(frozen=True)
class GateConfig(Config):
    """What a pose must show to be accepted."""

    min_inliers: int = option(25, "fewest inliers", minimum=4)
    min_inlier_ratio: float = option(0.25, "least share of correspondences that are inliers", minimum=0.0, maximum=1.0)
    max_reprojection_error_px: float = option(5.0, "largest median reprojection error of inliers [px]", minimum=0.1)
    doubt_error_px: float = option(
        2.0, "median reprojection error from which another focal length is tried [px]", minimum=0.0
    )
    min_spread: float = option(
        0.04, "least standard deviation of inliers in any direction, as share of the image diagonal", minimum=0.0
    )


@dataclass(frozen=True)
class AnchorConfig(Config):
    """How an image is found in the map."""

    features: FeatureConfig = section(FeatureConfig)
    matcher: MatcherConfig = section(MatcherConfig)
    pose: PoseConfig = section(PoseConfig)
    gate: GateConfig = section(GateConfig)
    top_k: int = option(5, "reference images matched at most, in order of promise", minimum=1)
    min_features: int = option(32, "fewest keypoints worth matching", minimum=4)
    min_matches: int = option(20, "fewest 2D-3D correspondences worth a pose", minimum=4)
    stop_inliers: int = option(150, "matching ends early at this many inliers", minimum=4)
    stop_spread: float = option(0.1, "... that spread this far (see gate.min_spread)", minimum=0.0)
