"""Options of extractors, matchers and the global descriptor."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option

EXTRACTOR_NAMES = ("aliked-n16", "aliked-n16rot", "aliked-n32")
MATCHER_NAMES = ("lightglue", "nearest")
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class FeatureConfig(Config):
    """How local features are found. ``make_extractor`` refuses a name it does not know."""

    name: str = option("aliked-n16", f"extractor: {', '.join(EXTRACTOR_NAMES)}")
    max_keypoints: int = option(512, "keypoints kept per image, strongest first", minimum=16, maximum=20_000)
    detection_threshold: float = option(0.2, "lowest keypoint score", minimum=0.0, maximum=1.0)
    nms_radius: int = option(2, "least distance between keypoints [px of the resized image]", minimum=1, maximum=16)
    resize_max: int = option(1024, "longer side the image is reduced to, never enlarged [px]", minimum=64)
    device: str = option("auto", "where the model runs; auto takes a GPU when there is one", choices=DEVICES)
    torch_threads: int = option(
        0, "CPU threads of torch; 0 leaves them as they are, in the anchor node half of the processors", minimum=0
    )
    weights: str = option("", "weights file; empty takes those of an installed package or the torch cache")


@dataclass(frozen=True)
class MatcherConfig(Config):
    """How features are matched. ``make_matcher`` refuses a name it does not know."""

    name: str = option("lightglue", f"matcher: {', '.join(MATCHER_NAMES)}")
    filter_threshold: float = option(0.1, "lowest match score", minimum=0.0, maximum=1.0)
    depth_confidence: float = option(0.95, "share of confident points that ends matching early; 1 never", maximum=1.0)
    width_confidence: float = option(0.99, "confidence that drops unmatchable points; 1 never", maximum=1.0)
    device: str = option("auto", "where the model runs; auto takes a GPU when there is one", choices=DEVICES)
    precision: str = option(
        "auto", "number type of matrix products; auto is half where it is native", choices=PRECISIONS
    )
    weights: str = option("", "weights file; empty takes those of an installed package or the torch cache")


@dataclass(frozen=True)
class VladConfig(Config):
    """How the global descriptor's codebook is trained and applied."""

    clusters: int = option(64, "visual words", minimum=2, maximum=1024)
    max_samples: int = option(50_000, "descriptors the codebook is trained with", minimum=100)
    iterations: int = option(20, "k-means iterations at most", minimum=1)
    seed: int = option(0, "seed of the k-means start", minimum=0)
