"""Options of the landmarks of a map, and of training their recogniser."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.features.config import DEVICES

LANDMARKS = "landmarks"
"""Name of the search, and of its folder in a map."""
MOST_LANDMARKS = 4096
SIZES = ("nano", "tiny", "small", "full")
POINTS, NETWORK = "points", "network"


@dataclass(frozen=True)
class TrainingConfig(Config):
    """Options of training the recogniser."""

    size: str = option("nano", "size of the network", choices=SIZES)
    prototypes: int = option(
        64,
        "most typical descriptors per landmark that the network compares tokens with, 2048 in all; 0 for none",
        minimum=0,
        maximum=1024,
    )
    max_minutes: float = option(8.0, "longest training [min]", minimum=0.01)
    max_steps: int = option(2000, "largest number of steps", minimum=1)
    batch: int = option(16, "samples of a step", minimum=1)
    tokens: int = option(256, "tokens of a sample", minimum=16, maximum=4096)
    learning_rate: float = option(1e-3, "largest learning rate", minimum=1e-6, maximum=1.0)
    warm_up: int = option(50, "steps over which the learning rate rises", minimum=0)
    clip: float = option(1.0, "largest norm of the gradient", minimum=1e-3)
    background_weight: float = option(0.1, "weight of background tokens in the loss", minimum=0.0, maximum=1.0)
    raised_background_weight: float = option(
        0.3, "weight of background tokens once less than half of them are recognised", minimum=0.0, maximum=1.0
    )
    validate_every: int = option(50, "steps between two validations", minimum=1)
    patience: int = option(300, "steps without a better validation after which training ends", minimum=1)
    checkpoint_s: float = option(30.0, "time between two checkpoints [s]", minimum=0.0)
    device: str = option("auto", "where training runs; auto takes a GPU when there is one", choices=DEVICES)
    seed: int = option(0, "seed of the network's first weights and of the samples", minimum=0)


@dataclass(frozen=True)
class LandmarkConfig(Config):
    """Options of dividing a map into landmarks, and of keeping its points."""

    num_landmarks: int = option(
        0,
        "Largest number of landmarks; 0 for one of every 600 points, between 8 and 64.",
        minimum=0,
        maximum=MOST_LANDMARKS,
    )
    clusters: str = option(
        "",
        "PRAM's folder of the map's scene, or with a folder for each map by its name, whose clusters of points become "
        "landmarks; empty for own ones.",
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
    """Options of dividing a map into landmarks, and of recognising them."""

    recogniser: str = option(
        POINTS,
        "What recognises landmarks: their most similar points, or a network that is trained for them.",
        choices=(POINTS, NETWORK),
    )
    landmarks: LandmarkConfig = section(LandmarkConfig)
    training: TrainingConfig = section(TrainingConfig)
