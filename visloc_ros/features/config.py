"""Options of extractors, matchers and the global descriptor."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.core.map_layout import VLAD

ALIKED_NAMES = ("aliked-n16", "aliked-n16rot", "aliked-n32")
XFEAT = "xfeat"
EXTRACTOR_NAMES = (*ALIKED_NAMES, "disk", "sift", "superpoint", XFEAT)
MATCHER_NAMES = ("lightglue", "nearest")
AUTO = "auto"
GEM_NAMES = ("radenovic_gldv1", "radenovic_sfm", "naver")
GEM_BACKBONES = ("resnet101conv5", "resnet50conv5")
GLOBAL_NAMES = (VLAD, "netvlad", "eigenplaces", "megaloc", "salad", "openibl", *GEM_NAMES)
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
BATCHINGS = ("auto", "always", "never")


@dataclass(frozen=True)
class SiftConfig(Config):
    """Options of the extractor ``sift`` alone."""

    contrast_threshold: float = option(0.0067, "lowest contrast of a keypoint", minimum=0.0, maximum=1.0)
    edge_threshold: float = option(
        10.0, "largest ratio of curvatures of a keypoint, above which it is an edge", minimum=1.0
    )
    upright: bool = option(False, "describe keypoints without turning them: better where the camera never rolls")


@dataclass(frozen=True)
class FeatureConfig(Config):
    """Options of local features. ``make_extractor`` refuses an unknown name."""

    name: str = option("aliked-n16", f"extractor: {', '.join(EXTRACTOR_NAMES)}, or hloc:CONF")
    max_keypoints: int = option(512, "keypoints kept per image, strongest first", minimum=16, maximum=20_000)
    detection_threshold: float = option(0.2, "lowest score of an aliked keypoint", minimum=0.0, maximum=1.0)
    nms_radius: int = option(
        2, "least distance between keypoints of aliked, disk [px of the resized image]", minimum=1, maximum=16
    )
    resize_max: int = option(
        1024, "longer side the image is reduced to, never enlarged [px]; hloc:CONF has its own", minimum=64
    )
    device: str = option("auto", "where the model runs; auto takes a GPU when there is one", choices=DEVICES)
    precision: str = option(
        "auto", "number type of aliked's convolutions; auto is half on a CPU where it is native", choices=PRECISIONS
    )
    torch_threads: int = option(
        0,
        "CPU threads of torch; 0 leaves them as they are, in the anchor node half of the processors",
        minimum=0,
        maximum=256,  # torch ends the process where it cannot start as many as requested
    )
    weights: str = option("", "weights file; empty takes those of an installed package or the torch cache")
    sift: SiftConfig = section(SiftConfig)


@dataclass(frozen=True)
class MatcherConfig(Config):
    """Options of matching. ``make_matcher`` refuses an unknown name."""

    name: str = option("lightglue", f"matcher: {', '.join(MATCHER_NAMES)}, or hloc:CONF")
    filter_threshold: float = option(0.1, "lowest match score", minimum=0.0, maximum=1.0)
    ratio: float = option(
        1.0,
        "nearest: largest distance of the best match over that of the second best; 1 for no test",
        minimum=0.1,
        maximum=1.0,
    )
    depth_confidence: float = option(0.95, "share of confident points that ends matching early; 1 never", maximum=1.0)
    width_confidence: float = option(0.99, "confidence that drops unmatchable points; 1 never", maximum=1.0)
    device: str = option("auto", "where the model runs; auto takes a GPU when there is one", choices=DEVICES)
    precision: str = option(
        "auto", "number type of matrix products; auto is half where it is native", choices=PRECISIONS
    )
    batching: str = option(
        "auto",
        "match several references at once, at full depth and width; auto does on a GPU, where it pays",
        choices=BATCHINGS,
    )
    cache_mb: int = option(128, "memory for the prepared data of repeated images [MB]", minimum=0)
    weights: str = option("", "weights file; empty takes those of an installed package or the torch cache")


@dataclass(frozen=True)
class GlobalConfig(Config):
    """Options of global descriptors. ``make_global_descriptor`` refuses an unknown name."""

    name: str = option(
        AUTO,
        f"global descriptor: auto (the map's own; a new map gets vlad), {', '.join(GLOBAL_NAMES)}, or hloc:CONF",
    )
    resize_max: int = option(
        0, "longer side the image is reduced to for a network [px]; 0 as its authors or the conf do", minimum=0
    )
    device: str = option("auto", "where the model runs; auto takes a GPU when there is one", choices=DEVICES)
    weights: str = option(
        "", "weights file of netvlad, radenovic or naver; empty takes that in torch.hub's folder, as the others do"
    )


@dataclass(frozen=True)
class VladConfig(Config):
    """Options of the codebook of VLAD."""

    clusters: int = option(64, "visual words", minimum=2, maximum=1024)
    max_samples: int = option(50_000, "descriptors the codebook is trained with", minimum=100)
    iterations: int = option(20, "k-means iterations at most", minimum=1)
    seed: int = option(0, "seed of the k-means start", minimum=0)
