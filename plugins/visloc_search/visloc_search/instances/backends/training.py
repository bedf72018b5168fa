"""Training of the recogniser on a map's own images: minutes on a processor, and it can be interrupted at any time.

After LBR (Xue et al., CVPR 2022): cross-entropy of the hardest pixels, and of the presence of each instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from visloc_ros.core.map import MapImage
from visloc_ros.core.types import Image
from visloc_ros.features.backends.weights import pick_device
from visloc_search.instances.backends.network import InstanceNetwork, load_backbone
from visloc_search.instances.backends.recogniser import NetworkRecogniser
from visloc_search.instances.config import NO_INSTANCE, TrainingConfig
from visloc_search.instances.samples import MaskedImage, SampleMaker
from visloc_search.instances.training_scores import TrainingPoint, point_accuracy
from visloc_search.learning import ReportProgress, ResumableTraining, Schedule, fingerprint

_BATCH = 16
_FEW_IMAGES = 50  # are learned as long as so many
_LEARNING_RATE, _WARM_UP, _CLIP = 2e-3, 50, 5.0
_VALIDATE_EVERY, _PATIENCE = 100, 500
_CHECKPOINT_S = 30.0
_HARDEST = 0.7  # of the pixels count
_WEIGHT_OF_NONE = 0.5  # of pixels without an instance: many show one whose points are far


@dataclass(frozen=True, eq=False)
class Taught:
    """Images to learn from, and those held out, with their pictures in the same order."""

    images: Sequence[MaskedImage]
    held_out: Sequence[MapImage]
    held_out_pictures: Sequence[Image]
    point_labels: NDArray[np.int32]
    num_classes: int


class Training(ResumableTraining[TrainingPoint]):
    """The training of a recogniser of instances."""

    point_type = TrainingPoint
    network: InstanceNetwork

    def __init__(self, taught: Taught, styles: Sequence[Image], config: TrainingConfig, folder: Path | None) -> None:
        self._taught, self._device = taught, pick_device(config.device)
        self._samples = SampleMaker(taught.images, styles, config.stylise, config.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = InstanceNetwork(taught.num_classes)
        if config.weights:
            load_backbone(network, Path(config.weights))
        arrays = [array for image in taught.images for array in (image.picture, image.mask)]
        known = "" if folder is None else fingerprint(type(self), config.to_mapping(), [*arrays, *styles])
        super().__init__(network.to(self._device), _schedule(config, len(taught.images)), folder, known)

    def loss(self) -> Tensor:
        """Cross-entropy of the hardest pixels, and of which instances are there at all."""
        inputs, labels = (torch.from_numpy(array).to(self._device) for array in self._samples.batch(self.step, _BATCH))
        with torch.random.fork_rng():
            torch.manual_seed(self.step)  # of the dropout: an interrupted training continues as it was
            logits, presence, _ = self.network.train()(inputs.permute(0, 3, 1, 2).float() / 255.0)
        weights = torch.ones(logits.shape[1], device=self._device)
        weights[NO_INSTANCE] = _WEIGHT_OF_NONE
        of_pixels = F.cross_entropy(logits, labels, weights, reduction="none").flatten(1)
        hardest = of_pixels.topk(int(_HARDEST * of_pixels.shape[1]), dim=1).values
        is_present = F.one_hot(labels.flatten(1), logits.shape[1]).amax(1).float()
        return hardest.mean() + F.binary_cross_entropy_with_logits(presence, is_present)

    def score(self, mean_loss: float) -> TrainingPoint:
        """How many points the network recognises in held-out images."""
        recogniser = NetworkRecogniser(self.network)
        masks = [recogniser.recognise(picture).mask for picture in self._taught.held_out_pictures]
        accuracy = point_accuracy(self._taught.held_out, masks, self._taught.point_labels)
        return TrainingPoint(self.step, self.seconds(), mean_loss, accuracy)


def train(
    taught: Taught, styles: Sequence[Image], config: TrainingConfig, progress: ReportProgress, folder: Path | None
) -> Training:
    """Train a network; it continues a checkpoint of the same images and options in ``folder``.

    Raises OutputError where no checkpoint can be written, ModelError for an absent GPU or broken weights.
    """
    training = Training(taught, styles, config, folder)
    training.run(progress)
    return training


def _schedule(config: TrainingConfig, num_images: int) -> Schedule:
    return Schedule(
        config.max_minutes,
        max(config.samples_per_image * max(num_images, _FEW_IMAGES) // _BATCH, 1),
        _LEARNING_RATE,
        _WARM_UP,
        _CLIP,
        _VALIDATE_EVERY,
        _PATIENCE,
        _CHECKPOINT_S,
    )
