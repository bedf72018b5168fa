"""Options of the ``klt`` odometry; thresholds in pixels are at the resolution of the tracked image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from visloc_ros.core.config import Config, option

_VGA_PIXELS = 640 * 480
_SMALLEST_WINDOW = 0.7  # share of the window at VGA: smaller ones hold too little to track


@dataclass(frozen=True)
class KltConfig(Config):
    """Everything that can be set about the ``klt`` odometry."""

    max_pixels: int = option(
        700_000, "pixels of an image that is tracked as it is; larger ones are halved first", minimum=40_000
    )
    max_features: int = option(350, "features followed at once", minimum=60, maximum=3000)
    min_quality: float = option(
        0.01, "weakest corner kept, as a share of the image's strongest corners", minimum=0.0, maximum=1.0
    )
    min_tracked: int = option(15, "landmarks that must support a pose", minimum=8, maximum=500)
    window_px: int = option(
        21,
        "side of the Lucas-Kanade window in pixels, at VGA or more; smaller images get smaller ones",
        minimum=7,
        maximum=61,
    )
    pyramid_levels: int = option(3, "halvings of the image in the Lucas-Kanade pyramid", minimum=0, maximum=6)
    forward_backward_px: float = option(
        0.5, "largest distance in pixels after tracking there and back", minimum=0.05, maximum=5.0
    )
    start_parallax_deg: float = option(
        1.0, "median parallax in degrees that the two-view start waits for", minimum=0.2, maximum=20.0
    )
    start_min_points: int = option(60, "points the two-view start must triangulate", minimum=20, maximum=1000)
    start_homography_share: float = option(
        0.45, "share of the homography in the model score from which the start waits", minimum=0.3, maximum=0.6
    )
    landmark_parallax_deg: float = option(
        0.3, "parallax in degrees below which a point first counts as far away", minimum=0.0, maximum=10.0
    )
    max_reprojection_px: float = option(
        2.0, "largest reprojection error in pixels of an inlier", minimum=0.5, maximum=10.0
    )
    keyframe_parallax_deg: float = option(
        2.0, "median parallax in degrees to the last keyframe that makes a new one", minimum=0.1, maximum=20.0
    )
    keyframe_overlap: float = option(
        0.75, "share of the last keyframe's features below which a new one is made", minimum=0.1, maximum=0.95
    )
    window_keyframes: int = option(10, "keyframes optimised by bundle adjustment", minimum=3, maximum=40)
    max_keyframes: int = option(100, "keyframes kept, with their images", minimum=10, maximum=1000)
    adjustment_iterations: int = option(12, "most iterations of one bundle adjustment", minimum=1, maximum=100)
    adjust_in_spare_time: bool = option(
        True,
        "adjust only while nothing else on this computer wants the core (Linux's SCHED_IDLE); "
        "set it to false where other programs leave no time to spare",
    )
    still_px: float = option(
        0.25, "median motion in pixels below which the camera stands still; 0 turns it off", minimum=0.0, maximum=5.0
    )
    min_contrast: float = option(
        3.0, "standard deviation of grey values below which an image shows nothing", minimum=0.0, maximum=100.0
    )
    blur_ratio: float = option(
        0.35, "sharpness, as a share of the usual one, below which an image counts as blurred", minimum=0.0, maximum=1.0
    )
    recovery_s: float = option(
        0.7, "seconds without tracking after which a new segment starts", minimum=0.0, maximum=60.0
    )

    def fitted_to(self, width: int, height: int) -> KltConfig:
        """The options for images of this size: a window that shows as much of the scene, if that is enough to track."""
        share = math.sqrt(min(1.0, width * height / _VGA_PIXELS))
        side = round(self.window_px * max(_SMALLEST_WINDOW, share))
        return replace(self, window_px=side + 1 - side % 2)
