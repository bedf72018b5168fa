"""Options of map tracking; thresholds in pixels are at the resolution of the tracked image."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option


@dataclass(frozen=True)
class MapTrackingConfig(Config):
    """Options of following map points between anchors."""

    enabled: bool = option(True, "Track the map points of the last anchor from frame to frame.")
    history_s: float = option(10.0, "Time for which images are kept for late anchors [s].", minimum=0.0, maximum=60.0)
    history_images: int = option(100, "Largest number of images kept for late anchors.", minimum=2, maximum=2000)
    max_pixels: int = option(
        700_000, "Images with more pixels than this are tracked at half their size.", minimum=40_000
    )
    max_points: int = option(150, "Largest number of map points searched in a frame.", minimum=20, maximum=1000)
    window_px: int = option(17, "Side of the patches that are matched [px].", minimum=7, maximum=61)
    min_inliers: int = option(20, "Least number of inliers of a pose.", minimum=6)
    reference_images: int = option(
        2,
        "Number of the map's thumbnails, those with the most similar views, that correct the pose's drift; 0 for none.",
        minimum=0,
        maximum=20,
    )
    reference_period_s: float = option(0.2, "Time between two localizations against the thumbnails [s].", minimum=0.0)
    max_error_px: float = option(5.0, "Largest reprojection error of an inlier [px].", minimum=0.5)
    max_disagreement: float = option(
        0.05,
        "Largest mean distance of the points from where the predicted pose projects them, as a share of the diagonal.",
        minimum=1e-6,
    )
