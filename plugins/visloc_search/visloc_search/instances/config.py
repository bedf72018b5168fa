"""Options of the instances of a map, and of training their recogniser."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option, section
from visloc_ros.features.config import DEVICES

INSTANCES = "instances"
"""Name of the search, and of its folder in a map."""
NO_INSTANCE = 0
MOST_INSTANCES = 4096


@dataclass(frozen=True)
class TrainingConfig(Config):
    """Options of training the recogniser of instances."""

    max_minutes: float = option(20.0, "Longest training [min].", minimum=0.01)
    samples_per_image: int = option(160, "Samples of each map image; with fewer than 50 images more.", minimum=1)
    stylise: float = option(
        0.5,
        "Share of the samples in another style: light, colours, noise, blur. 0 learns the map's own images only.",
        minimum=0.0,
        maximum=1.0,
    )
    styles: str = option("", "Folder of images, of any place, whose light and colours samples also take over.")
    weights: str = option("", "File of weights for the backbone, MobileNetV3-small as torchvision names them (.pth).")
    device: str = option("auto", "Where training runs; auto takes a GPU where there is one.", choices=DEVICES)
    seed: int = option(0, "Seed of the network's first weights and of the samples.", minimum=0)


@dataclass(frozen=True)
class InstanceConfig(Config):
    """Options of the instances of a map, and of recognising them."""

    num_instances: int = option(
        0,
        "Largest number of instances; 0 for one of every 100 points, between 8 and 64.",
        minimum=0,
        maximum=MOST_INSTANCES,
    )
    masks: str = option(
        "",
        "Folder of instance masks (PNG, named as the map's images, colour R*65536+G*256+B) with a list of the classes "
        "of colours (classes.txt), instead of the map's own instances.",
    )
    training: TrainingConfig = section(TrainingConfig)
