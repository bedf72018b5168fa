"""Training of the recogniser on a map's own images: minutes on a processor, and it can be interrupted at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from visloc_ros.features.backends.weights import pick_device, pick_dtype
from visloc_search.landmarks.augmentation import SampleMaker
from visloc_search.landmarks.backends.recogniser import save_recogniser, shape_of
from visloc_search.landmarks.backends.recogniser_network import RecogniserNetwork, network_shape
from visloc_search.landmarks.config import TrainingConfig
from visloc_search.landmarks.recogniser import RecogniserInfo, background_threshold
from visloc_search.landmarks.tokens import BACKGROUND, Float32, LabelledImage, landmark_prototypes
from visloc_search.landmarks.training_curve import CurvePoint, score_recognition
from visloc_search.learning import ReportProgress, ResumableTraining, Schedule, fingerprint

_LOW_RECALL = 0.5
_LEAST_ACCURACY = 0.5
_STEPS_BEFORE_RAISING = 200
_MOST_VALIDATED = 32
_MOST_PROTOTYPES = 2048  # in all: every keypoint is compared with each, so that many maps would take longer and longer
_AMPERE = 8  # compute capability


@dataclass(frozen=True, eq=False)
class TrainedRecogniser:
    """The best network, its scores, the training curve, and the probability of background above which tokens go."""

    network: RecogniserNetwork
    curve: tuple[CurvePoint, ...]
    background_threshold: float
    config: TrainingConfig
    best: CurvePoint | None = None

    def save(self, folder: Path, extractor: str) -> int:
        """Write it as the recogniser for the named extractor's features; gives its bytes. Raises OutputError."""
        training = {"options": self.config.to_mapping(), "curve": [asdict(point) for point in self.curve]}
        info = RecogniserInfo(extractor, shape_of(self.network), self.background_threshold, training=training)
        return save_recogniser(folder, self.network, info)


def train_recogniser(
    images: Sequence[LabelledImage],
    negatives: Sequence[LabelledImage],
    validation: Sequence[LabelledImage],
    num_classes: int,
    config: TrainingConfig | None = None,
    progress: ReportProgress = lambda share: None,
    checkpoint_folder: Path | None = None,
) -> TrainedRecogniser:
    """Train a network on labelled images; ``negatives`` are images of other places, ``validation`` is held out.

    The training continues a checkpoint of the same images and options in ``checkpoint_folder``, and leaves one there
    when it is interrupted. ``progress`` receives the share that is done; an exception that it raises
    ends the training. Raises MapError when no image shows a landmark, OutputError where no checkpoint can be
    written, ModelError for an absent GPU.
    """
    config = config or TrainingConfig()
    training = _Training(images, negatives, validation, num_classes, config, checkpoint_folder)
    training.run(progress)
    return training.result()


class _Training(ResumableTraining[CurvePoint]):
    """The training of a recogniser of keypoints."""

    point_type = CurvePoint
    network: RecogniserNetwork

    def __init__(
        self,
        images: Sequence[LabelledImage],
        negatives: Sequence[LabelledImage],
        validation: Sequence[LabelledImage],
        num_classes: int,
        config: TrainingConfig,
        folder: Path | None,
    ) -> None:
        self._config = config
        self._device = pick_device(config.device)
        self._has_brain_floats = _has_brain_floats(self._device)
        self._samples = SampleMaker(images, negatives, config.tokens, config.seed)
        self._validation = self._samples.for_validation(_spread(validation or images, _MOST_VALIDATED))
        self._background_weight = config.background_weight
        network = _new_network(images, num_classes, config).to(self._device)
        known = "" if folder is None else self._identity_of((images, negatives, validation), num_classes)
        super().__init__(network, _schedule(config), folder, known)

    def _identity_of(self, groups: Sequence[Sequence[LabelledImage]], num_classes: int) -> str:
        counts = {"num_classes": num_classes, "images": [len(images) for images in groups]}
        arrays = (
            array
            for images in groups
            for image in images
            for array in (image.descriptors, image.positions, image.labels, image.point_rows)
        )
        return fingerprint(type(self), {**self._config.to_mapping(), **counts}, arrays)

    def result(self) -> TrainedRecogniser:
        """The best network."""
        probabilities = self._recognise()
        threshold = background_threshold(probabilities, [image.labels for image in self._validation])
        return TrainedRecogniser(self.network.cpu().eval(), tuple(self.curve), threshold, self._config, self.best_point)

    def loss(self) -> Tensor:
        """Cross-entropy of the classes of tokens."""
        batch = self._samples.batch(self.step, self._config.batch)
        descriptors, positions, labels, valid = (torch.from_numpy(array).to(self._device) for array in batch)
        with self._precision():
            logits = self.network(descriptors, positions, valid)
        weights = torch.ones(logits.shape[-1], device=self._device)
        weights[BACKGROUND] = self._background_weight
        return F.cross_entropy(logits[valid].float(), labels[valid], weights)

    def score(self, mean_loss: float) -> CurvePoint:
        """Scores on held-out images; where too little background is recognised, it counts more from now on."""
        scores = score_recognition(self._recognise(), [image.labels for image in self._validation])
        point = CurvePoint(self.step, self.seconds(), mean_loss, **scores)
        if point.background_recall < _LOW_RECALL and self.step >= _STEPS_BEFORE_RAISING:
            self._background_weight = max(self._background_weight, self._config.raised_background_weight)
        return point

    def is_good_enough(self, point: CurvePoint) -> bool:
        """Whether it recognises most keypoints: of 400 landmarks none is recognised for hundreds of steps."""
        return point.accuracy >= _LEAST_ACCURACY

    def extra_state(self) -> dict[str, Any]:
        """The weight of background."""
        return {"background_weight": self._background_weight}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put the weight of background back."""
        self._background_weight = state["background_weight"]

    @torch.no_grad()
    def _recognise(self) -> list[Float32]:
        """Probabilities (N, C) of the held-out images' tokens."""
        found = []
        for image in self._validation:
            descriptors, positions = (
                torch.from_numpy(array)[None].to(self._device) for array in (image.descriptors, image.positions)
            )
            with self._precision():
                logits = self.network(descriptors, positions)
            found.append(logits[0].float().softmax(-1).cpu().numpy())
        return found

    def _precision(self) -> torch.autocast:
        """Brain floats where they are native; their range needs no scaled gradients."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._has_brain_floats)


def _schedule(config: TrainingConfig) -> Schedule:
    return Schedule(
        config.max_minutes,
        config.max_steps,
        config.learning_rate,
        config.warm_up,
        config.clip,
        config.validate_every,
        config.patience,
        config.checkpoint_s,
    )


def _new_network(images: Sequence[LabelledImage], num_classes: int, config: TrainingConfig) -> RecogniserNetwork:
    """A network with first weights by the seed; torch's own random numbers stay as they are."""
    count = min(config.prototypes, max(_MOST_PROTOTYPES // (num_classes - 1), 1))
    shape = network_shape(config.size, images[0].descriptors.shape[1], num_classes, count)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = RecogniserNetwork(shape)
    if count:
        network.prototypes = torch.from_numpy(landmark_prototypes(images, num_classes, count, config.seed))
    return network


def _has_brain_floats(device: torch.device) -> bool:
    """Whether a device multiplies them natively; GPUs do from NVIDIA's Ampere on."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= _AMPERE
    return pick_dtype("auto", device) == torch.bfloat16


def _spread(images: Sequence[LabelledImage], count: int) -> list[LabelledImage]:
    """At most ``count`` of the images, evenly spaced, without those that have no tokens."""
    filled = [image for image in images if len(image)]
    return [filled[index * len(filled) // count] for index in range(count)] if len(filled) > count else filled
