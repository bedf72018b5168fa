"""Options of the landmarks of a map."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.localization.strategies.landmarks.training_config import TrainingConfig

LANDMARKS = "landmarks"
"""Name of the search, and of its folder in a map."""
MOST_LANDMARKS = 4096


@dataclass(frozen=True)
class LandmarkConfig(Config):
    """Options of dividing a map into landmarks, and of keeping its points."""

    num_landmarks: int = option(
        0,
        "Largest number of landmarks; 0 for one of every 600 points, between 8 and 64.",
        minimum=0,
        maximum=MOST_LANDMARKS,
    )
    min_track_length: int = option(2, "Least number of images that see a point of a landmark.", minimum=2)
    thinning_radius: float = option(
        0.0156,
        "Points nearer to a kept one, in a frame that shows both, are dropped: a share of the longer side of the image "
        "(10 px of 640); 0 keeps all.",
        minimum=0.0,
        maximum=1.0,
    )


@dataclass(frozen=True)
class PreparationConfig(Config):
    """Options of dividing a map into landmarks, and of training their recogniser."""

    landmarks: LandmarkConfig = section(LandmarkConfig)
    training: TrainingConfig = section(TrainingConfig)
