"""Landmarks instead of reference images: the map reduced to labelled points and virtual reference frames.

After PRAM (Xue et al. 2024, Place Recognition Anywhere Model for Efficient Visual Localization, arXiv 2404.07785).
"""

from visloc_ros.localization.strategies.landmarks.clustering import label_points
from visloc_ros.localization.strategies.landmarks.config import LandmarkConfig
from visloc_ros.localization.strategies.landmarks.landmark_files import (
    byte_report,
    load_landmark_map,
    save_landmark_map,
)
from visloc_ros.localization.strategies.landmarks.landmark_map import LandmarkMap, make_landmark_map, reduce_map

__all__ = [
    "LandmarkConfig",
    "LandmarkMap",
    "byte_report",
    "label_points",
    "load_landmark_map",
    "make_landmark_map",
    "reduce_map",
    "save_landmark_map",
]
