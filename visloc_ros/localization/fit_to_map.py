"""Whether a pose fits the points of a map about as well as the map's own images do.

A place that only looks alike, and the image of a mirror, agree with many points of a map, but roughly.
"""

from __future__ import annotations

from statistics import median

from visloc_ros.core.map import Map
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.pose import PoseSolution

_MOST_TIMES = 4.0
"""The median error of a right pose, as a multiple of the map's, is at most 1.3 in a kitchen and 3.7 on a drive. In more
exact maps sharp images stay below the usual error; look-alikes and mirrors reach 6 to 30 times the map's (attempts of
``benchmarks/anchor/out_of_map.py``)."""
_USUAL_SHARE = 0.25
"""Of the largest error of an inlier: what light, noise and motion add in any map."""
_SHARE_OF_ROUGH = 0.25
"""Of the risk: of the rough poses elsewhere that could be repeated, the likeliest had 0.4 of it. A far smaller share
refuses most images of a room that was painted and furnished again."""


class FitToMap:
    """Judges the reprojection errors of poses by those of the points of a map."""

    def __init__(self, map_: Map, config: PoseConfig) -> None:
        focal_lengths = [image.camera.mean_focal_length() for image in map_.images]
        self._error = map_.manifest.reprojection_error_px / median(focal_lengths) if focal_lengths else 0.0
        self._usual_px = _USUAL_SHARE * config.max_error_px

    def risk_share(self, solution: PoseSolution) -> float:
        """The share of the largest risk that a pose may have: all of it unless its inliers err more than is usual."""
        if not self._error:  # the map states none
            return 1.0
        most_px = max(self._usual_px, _MOST_TIMES * self._error * solution.focal_length)
        return _SHARE_OF_ROUGH if solution.median_error_px > most_px else 1.0
