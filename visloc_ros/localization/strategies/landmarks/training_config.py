"""Options of the recogniser and its training."""

from __future__ import annotations

from dataclasses import dataclass

from visloc_ros.core.config import Config, option
from visloc_ros.features.config import DEVICES

SIZES = ("nano", "tiny", "small", "full")


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
