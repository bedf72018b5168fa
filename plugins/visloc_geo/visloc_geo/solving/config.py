"""Options of locating a photo by its matches with geotagged views."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option

DISPLACEMENT, EXPANSION = "displacement", "expansion"


@dataclass(frozen=True)
class SolvingConfig(Config):
    """Options of locating a photo by its matches."""

    policy: str = option(
        DISPLACEMENT,
        "First 3D points: one for each keypoint (displacement), or one for each pair of views (expansion).",
        choices=(DISPLACEMENT, EXPANSION),
    )
    confidence_thr: float = option(
        0.2, "Least product of the confidences of two matches of a keypoint.", minimum=0.0, maximum=1.0
    )
    points_distance_thr: float = option(100.0, "Largest distance of a point from the views that see it [m].", minimum=1)
    min_inliers: int = option(15, "Least number of points seen from several places that agree with a pose.", minimum=6)
    spacing_m: float = option(15.0, "Distance between neighbouring views of the database [m].", minimum=0.1)
    seed: int = option(0, "Seed of RANSAC; the same matches give the same pose.", minimum=0)
