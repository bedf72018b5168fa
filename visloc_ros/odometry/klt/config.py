"""Options of the ``klt`` odometry; thresholds in pixels are at the resolution of the tracked image."""

from __future__ import annotations

from dataclasses import dataclass, replace

from visloc_ros.core.config import Config, option
from visloc_ros.tracking.lucas_kanade import fitted_window


@dataclass(frozen=True)
class KltConfig(Config):
    """Everything that can be set about the ``klt`` odometry."""

    max_pixels: int = option(
        700_000, "Images with more pixels than this are tracked at half their size.", minimum=40_000
    )
    max_features: int = option(350, "Largest number of features tracked at once.", minimum=60, maximum=3000)
    min_tracked: int = option(15, "Least number of landmarks of a pose.", minimum=8, maximum=500)
    window_px: int = option(
        21,
        "Side of the Lucas-Kanade window in pixels, at VGA or more; smaller images get a smaller window.",
        minimum=7,
        maximum=61,
    )
    pyramid_levels: int = option(
        3, "Number of levels above the image in the Lucas-Kanade pyramid.", minimum=0, maximum=6
    )
    start_min_points: int = option(
        60, "Least number of points that the two-view initialization triangulates.", minimum=20, maximum=1000
    )
    max_reprojection_px: float = option(
        2.0, "Largest reprojection error of an inlier in pixels.", minimum=0.5, maximum=10.0
    )
    readout_ms: float = option(
        0.0,
        "Milliseconds from the first row's exposure to the last row's, of a rolling shutter; 0 for a global shutter.",
        minimum=-100.0,
        maximum=100.0,
    )
    window_keyframes: int = option(10, "Number of keyframes in the window of bundle adjustment.", minimum=3, maximum=40)
    max_keyframes: int = option(100, "Largest number of keyframes kept, with their images.", minimum=10, maximum=1000)
    min_contrast: float = option(
        3.0,
        "Images with a smaller standard deviation of grey values are rejected as empty.",
        minimum=0.0,
        maximum=100.0,
    )
    recovery_s: float = option(
        0.7, "Seconds without tracking after which a new segment starts.", minimum=0.0, maximum=60.0
    )

    def fitted_to(self, width: int, height: int) -> KltConfig:
        """The options for images of this size: a window that shows as much of the scene, if that is enough to track."""
        return replace(self, window_px=fitted_window(self.window_px, width, height))
