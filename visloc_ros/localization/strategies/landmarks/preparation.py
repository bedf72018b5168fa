"""Prepares maps for the search by landmarks: their landmarks, and one recogniser that tells those of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.config import Config, section
from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.map import Map, open_map
from visloc_ros.core.map_preparation import add_prepared
from visloc_ros.core.progress import Progress, track
from visloc_ros.core.types import AnchorPose, Frame
from visloc_ros.localization.strategies.landmarks.clustering import label_points
from visloc_ros.localization.strategies.landmarks.config import LandmarkConfig
from visloc_ros.localization.strategies.landmarks.keypoint_labels import PointFinder
from visloc_ros.localization.strategies.landmarks.landmark_files import save_landmark_map
from visloc_ros.localization.strategies.landmarks.landmark_map import LandmarkMap, reduce_map
from visloc_ros.localization.strategies.landmarks.tokens import (
    BACKGROUND,
    LabelledImage,
    background_image,
    label_features,
    label_images,
    split_images,
)
from visloc_ros.localization.strategies.landmarks.training_config import TrainingConfig

WAY = "landmarks"
