"""Options of map tracking; thresholds in pixels are at the resolution of the tracked image."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option


@dataclass(frozen=True)
class MapTrackingConfig(Config):
    """How map points are followed between anchors."""

    enabled: bool = option(True, "follow the map points of the last anchor from frame to frame")
    history_s: float = option(3.0, "images kept for anchors that come late [s]", minimum=0.0, maximum=60.0)
    history_images: int = option(100, "... and how many of them at most", minimum=2, maximum=2000)
    max_pixels: int = option(
        700_000, "pixels of an image that is tracked as it is; larger ones are halved first", minimum=40_000
    )
    max_points: int = option(150, "map points looked for in a frame", minimum=20, maximum=1000)
    window_px: int = option(17, "side of the patches that are compared [px]", minimum=7, maximum=61)
    max_views: int = option(4, "images whose patches are looked for: the anchor's and tracked ones", minimum=2)
    min_overlap: float = option(
        0.7, "share of the image that one of them must show, or the last tracked one is added", minimum=0.0, maximum=1.0
    )
    min_support: float = option(
        0.6,
        "... also when fewer points agree than this share of those after the last addition",
        minimum=0.0,
        maximum=1.0,
    )
    min_found: float = option(0.35, "least share of the points looked for that must be found", minimum=0.0, maximum=1.0)
    min_inliers: int = option(20, "fewest points that must agree with a pose", minimum=6)
    min_inlier_ratio: float = option(
        0.5, "least share of the points found that must agree with a pose", minimum=0.0, maximum=1.0
    )
    min_spread: float = option(
        0.08, "least standard deviation of the inliers in any direction, as share of the image diagonal", minimum=0.0
    )
    map_pictures: int = option(
        2, "thumbnails of the map that a pose is held to, those that show most alike; 0 for none", minimum=0, maximum=20
    )
    map_pictures_period_s: float = option(
        0.2, "how often the thumbnails are looked at [s]; the last look is carried on in between", minimum=0.0
    )
    max_map_points: int = option(100, "map points looked for by their thumbnails", minimum=20, maximum=1000)
    max_error_px: float = option(5.0, "largest reprojection error of an inlier [px]", minimum=0.5)
    max_disagreement: float = option(
        0.05, "how far points may be from where the predicted pose has them, as share of the diagonal", minimum=1e-6
    )
