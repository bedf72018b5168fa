"""Training of the recogniser on a map's own images: minutes on a processor, and it can be interrupted at any time.

The state of an unfinished training is written atomically, and read as plain numbers and tensors only.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.features.backends.weights import pick_device, pick_dtype
from visloc_ros.localization.strategies.landmarks.augmentation import SampleMaker
from visloc_ros.localization.strategies.landmarks.backends.recogniser import save_recogniser, shape_of
from visloc_ros.localization.strategies.landmarks.backends.recogniser_network import RecogniserNetwork, network_shape
from visloc_ros.localization.strategies.landmarks.config import TrainingConfig
from visloc_ros.localization.strategies.landmarks.recogniser import RecogniserInfo, background_threshold
from visloc_ros.localization.strategies.landmarks.tokens import BACKGROUND, Float32, LabelledImage, landmark_prototypes
from visloc_ros.localization.strategies.landmarks.training_curve import CurvePoint, score_recognition

ReportProgress = Callable[[float, str], None]

_LAST_RATE = 0.01  # of the largest learning rate
_TIMED_STEPS = 20  # at least, before it is known how many steps there is time for
_SPARE_TIME = 0.95
_BETTER = 0.002  # merit by which a network must be better to count as that
_LOW_RECALL = 0.5
_LEAST_ACCURACY = 0.5  # below it training goes on: of 400 landmarks none is recognised for hundreds of steps
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
    progress: ReportProgress = lambda fraction, text: None,
    checkpoint_folder: Path | None = None,
) -> TrainedRecogniser:
    """Train a network on labelled images; ``negatives`` are images of other places, ``validation`` is held out.

    The training continues a checkpoint of the same images and options in ``checkpoint_folder``, and leaves one there
    when it is interrupted. ``progress`` receives the share that is done and a line about it; an exception that it
    raises ends the training. Raises MapError when no image shows a landmark, OutputError where no checkpoint can be
    written, ModelError for an absent GPU.
    """
    config = config or TrainingConfig()
    training = _Training(images, negatives, validation, num_classes, config, checkpoint_folder)
    training.run(progress)
    return training.result()


class _Training:
    """A training's state, which changes only in ``_update`` and ``_validate``."""

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
        self._folder = folder
        self._device = pick_device(config.device)
        self._has_brain_floats = _has_brain_floats(self._device)
        self._samples = SampleMaker(images, negatives, config.tokens, config.seed)
        self._validation = self._samples.for_validation(_spread(validation or images, _MOST_VALIDATED))
        self._network = _new_network(images, num_classes, config).to(self._device)
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=config.learning_rate)
        self._step, self._planned, self._seconds_before = 0, config.max_steps, 0.0
        self._background_weight = config.background_weight
        self._curve: list[CurvePoint] = []
        self._losses: list[float] = []
        self._best: dict[str, Tensor] = _copied(self._network.state_dict())
        self._best_point: CurvePoint | None = None
        self._is_changing = False
        self._fingerprint = fingerprint((images, negatives, validation), num_classes, config) if folder else ""
        self._started = time.monotonic()
        self._saved = -math.inf  # the first step is saved at once
        self._resume()

    def run(self, progress: ReportProgress) -> None:
        """Train to the end; an interruption leaves a checkpoint."""
        try:
            while not self._is_done():
                self._advance()
                progress(self._fraction(), self._words())
        finally:
            # A state that was just changing is not consistent; the last checkpoint stays then.
            if not self._is_changing:
                self._save()

    def result(self) -> TrainedRecogniser:
        """The best network so far."""
        self._network.load_state_dict(self._best)
        probabilities = self._recognise()
        threshold = background_threshold(probabilities, [image.labels for image in self._validation])
        return TrainedRecogniser(
            self._network.cpu().eval(), tuple(self._curve), threshold, self._config, self._best_point
        )

    def _advance(self) -> None:
        loss = self._gradient()
        self._is_changing = True
        self._update(loss)
        if self._step % self._config.validate_every == 0 or self._step == self._planned:
            self._validate()
        self._is_changing = False
        if time.monotonic() - self._saved > self._config.checkpoint_s:
            self._save()

    def _gradient(self) -> float:
        """Compute the gradient on the samples of this step, and give the loss."""
        batch = self._samples.batch(self._step, self._config.batch)
        descriptors, positions, labels, valid = (torch.from_numpy(array).to(self._device) for array in batch)
        with self._precision():
            logits = self._network(descriptors, positions, valid)
        weights = torch.ones(logits.shape[-1], device=self._device)
        weights[BACKGROUND] = self._background_weight
        loss = F.cross_entropy(logits[valid].float(), labels[valid], weights)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._config.clip)
        return float(loss.detach())

    def _update(self, loss: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.learning_rate * _schedule(self._step, self._planned, self._config.warm_up)
        self._optimizer.step()
        self._step += 1
        self._losses.append(loss)
        if self._step == max(self._config.warm_up, _TIMED_STEPS):
            self._plan()

    def _plan(self) -> None:
        """Let the schedule end when the time is up."""
        left = self._config.max_minutes * 60.0 - self._seconds()
        possible = self._step + int(_SPARE_TIME * left / self._seconds() * self._step)
        self._planned = max(min(self._config.max_steps, possible), self._step)

    def _validate(self) -> None:
        scores = score_recognition(self._recognise(), [image.labels for image in self._validation])
        loss = sum(self._losses) / max(len(self._losses), 1)
        point = CurvePoint(self._step, self._seconds(), loss, **scores)
        self._curve.append(point)
        self._losses = []
        if self._best_point is None or point.merit > self._best_point.merit + _BETTER:
            self._best, self._best_point = _copied(self._network.state_dict()), point
        if point.background_recall < _LOW_RECALL and self._step >= _STEPS_BEFORE_RAISING:
            self._background_weight = max(self._background_weight, self._config.raised_background_weight)

    @torch.no_grad()
    def _recognise(self) -> list[Float32]:
        """Probabilities (N, C) of the held-out images' tokens."""
        found = []
        for image in self._validation:
            descriptors, positions = (
                torch.from_numpy(array)[None].to(self._device) for array in (image.descriptors, image.positions)
            )
            with self._precision():
                logits = self._network(descriptors, positions)
            found.append(logits[0].float().softmax(-1).cpu().numpy())
        return found

    def _precision(self) -> torch.autocast:
        """Brain floats where they are native; their range needs no scaled gradients."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._has_brain_floats)

    def _is_done(self) -> bool:
        best = self._best_point
        flat = best is not None and self._step - best.step >= self._config.patience and best.accuracy >= _LEAST_ACCURACY
        return flat or self._step >= self._planned or self._seconds() >= self._config.max_minutes * 60.0

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    def _fraction(self) -> float:
        return 1.0 if self._is_done() else self._step / self._planned

    def _words(self) -> str:
        text = f"step {self._step} of {self._planned}"
        return f"{text}, recognises {self._curve[-1].accuracy:.0%} of held-out keypoints" if self._curve else text

    def _save(self) -> None:
        if self._folder is None:
            return
        state: dict[str, Any] = {
            "fingerprint": self._fingerprint,
            "network": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "best_step": self._best_point.step if self._best_point else None,
            "curve": [asdict(point) for point in self._curve],
            "losses": self._losses,
            "step": self._step,
            "planned": self._planned,
            "seconds": self._seconds(),
            "background_weight": self._background_weight,
        }
        write_checkpoint(self._folder, state)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        """Continue from a checkpoint of this training, if there is one."""
        state = read_checkpoint(self._folder, self._fingerprint) if self._folder else None
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = state["best"]
        self._curve = [CurvePoint(**point) for point in state["curve"]]
        self._best_point = next((point for point in self._curve if point.step == state["best_step"]), None)
        self._losses, self._step, self._planned = state["losses"], state["step"], state["planned"]
        self._seconds_before, self._background_weight = state["seconds"], state["background_weight"]


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


def _schedule(step: int, planned: int, warm_up: int) -> float:
    """Share of the largest learning rate: linear warm-up, then half a cosine."""
    if step < warm_up:
        return (step + 1) / warm_up
    done = min((step - warm_up) / max(planned - warm_up, 1), 1.0)
    return _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * done))


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def _spread(images: Sequence[LabelledImage], count: int) -> list[LabelledImage]:
    """At most ``count`` of the images, evenly spaced, without those that have no tokens."""
    filled = [image for image in images if len(image)]
    return [filled[index * len(filled) // count] for index in range(count)] if len(filled) > count else filled


CHECKPOINT_NAME = "training.pt"
_ONLY_OF_THE_RUN = ("max_minutes", "checkpoint_s", "device")  # options that may change when a training goes on


def fingerprint(groups: Sequence[Sequence[LabelledImage]], num_classes: int, config: TrainingConfig) -> str:
    """SHA-256 of the inputs of a training: a checkpoint of another training must not be continued."""
    options = {name: value for name, value in config.to_mapping().items() if name not in _ONLY_OF_THE_RUN}
    digest = hashlib.sha256(json.dumps([num_classes, options], sort_keys=True).encode("utf-8"))
    for images in groups:
        digest.update(f"{len(images)} images".encode())
        for image in images:
            for array in (image.descriptors, image.positions, image.labels, image.point_rows):
                digest.update(array.tobytes())
    return digest.hexdigest()


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write a training's state in place of the last one. Raises OutputError."""
    with atomic_write(folder / CHECKPOINT_NAME) as path:
        torch.save(state, path)


def read_checkpoint(folder: Path, expected: str) -> dict[str, Any] | None:
    """The state of the training with this fingerprint; None where there is none that can be read."""
    try:
        state = torch.load(folder / CHECKPOINT_NAME, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) and state.get("fingerprint") == expected else None
