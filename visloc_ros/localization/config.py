"""Options of the anchor engine."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.features.config import FeatureConfig, GlobalConfig, MatcherConfig

POSE_SOLVERS = ("poselib", "colmap")


@dataclass(frozen=True)
class PoseConfig(Config):
    """How a pose is computed from 2D-3D correspondences."""

    solver: str = option(
        "poselib", f"RANSAC: {', '.join(POSE_SOLVERS)}; only poselib takes a predicted pose", choices=POSE_SOLVERS
    )
    max_error_px: float = option(8.0, "largest reprojection error of an inlier [px]", minimum=0.5)
    confidence: float = option(0.9999, "RANSAC stops at this confidence", minimum=0.5, maximum=1.0)
    progressive_sampling: bool = option(
        False, "sample the best correspondences first (PROSAC, poselib); a wrong order makes it fail"
    )
    min_iterations: int = option(100, "RANSAC iterations at least (poselib)", minimum=1)
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

    min_inliers: int = option(30, "fewest inliers", minimum=4)
    min_inlier_ratio: float = option(0.4, "least share of correspondences that are inliers", minimum=0.0, maximum=1.0)
    max_reprojection_error_px: float = option(5.0, "largest median reprojection error of inliers [px]", minimum=0.1)
    doubt_error_px: float = option(
        2.0, "median reprojection error from which another focal length is tried [px]", minimum=0.0
    )
    min_spread: float = option(
        0.04, "least standard deviation of inliers in any direction, as share of the image diagonal", minimum=0.0
    )
    strong_inliers: int = option(
        150, "inliers below which one thing that is also elsewhere, such as a poster, may be all there is", minimum=4
    )
    min_weak_spread: float = option(0.065, "... and a spread of this much is asked for (see min_spread)", minimum=0.0)
    min_thickness: float = option(
        0.02, "... and a thickness of their points across one plane of this share of their distance", minimum=0.0
    )
    min_flat_spread: float = option(
        0.15, "... unless they spread this far over the image (see min_spread)", minimum=0.0
    )


@dataclass(frozen=True)
class GuidedConfig(Config):
    """How map points are looked for around where a predicted pose projects them, before anything slower is tried."""

    enabled: bool = option(True, "look for points around a predicted pose")
    refine: bool = option(True, "look for more points around a pose found by matching")
    references: int = option(10, "map images with most overlap whose points are looked for", minimum=1)
    window: float = option(
        0.075, "half side of the square around a projected point, as share of the image diagonal", minimum=0.001
    )
    fine_window_px: float = option(10.0, "... around points projected by the pose found first [px]", minimum=1.0)
    min_similarity: float = option(0.6, "least dot product of matching descriptors", minimum=-1.0, maximum=1.0)
    min_inliers: int = option(50, "fewest inliers; below, references are matched in full", minimum=4)
    min_inlier_ratio: float = option(
        0.5, "least share of the points found that are inliers; below as above", minimum=0.0, maximum=1.0
    )
    min_spread: float = option(0.1, "least spread of the inliers (see gate.min_spread); below as above", minimum=0.0)


@dataclass(frozen=True)
class AnchorConfig(Config):
    """How an image is found in the map."""

    features: FeatureConfig = section(FeatureConfig)
    matcher: MatcherConfig = section(MatcherConfig)
    global_descriptor: GlobalConfig = section(GlobalConfig)
    guided: GuidedConfig = section(GuidedConfig)
    pose: PoseConfig = section(PoseConfig)
    gate: GateConfig = section(GateConfig)
    top_k: int = option(5, "similar map images matched at most, in order of promise", minimum=1)
    top_k_expected: int = option(
        3, "map images that a predicted pose should see, matched before the similar ones", minimum=0
    )
    min_shared_points: int = option(
        10, "points that two map images share at least to show one place; places are solved apart", minimum=0
    )
    min_features: int = option(32, "fewest keypoints worth matching", minimum=4)
    min_matches: int = option(20, "fewest 2D-3D correspondences worth a pose", minimum=4)
    stop_inliers: int = option(150, "matching ends early at this many inliers", minimum=4)
    stop_spread: float = option(0.1, "... that spread this far (see gate.min_spread)", minimum=0.0)
