"""A training that ends when its time is up, keeps its best network, and can be interrupted at any time.

Its state is written atomically, and read as plain numbers and tensors only.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import ModelError
from visloc_ros.core.files import exists
from visloc_ros.execution.tasks import artifact_key

ReportProgress = Callable[[float], None]
"""Receives the share that is done."""

_LAST_RATE = 0.01  # of the largest learning rate
_TIMED_STEPS = 20  # at least, before it is known how many steps there is time for
_SPARE_TIME = 0.95
_BETTER = 0.002  # merit by which a network must be better to count as that


@dataclass(frozen=True)
class Schedule:
    """How long a training takes, in minutes and steps, and its learning rate.

    The rate rises over ``warm_up`` steps, then falls along half a cosine until the steps or the time are used up.
    ``clip`` is the largest norm of the gradient; ``patience`` steps without a better validation end the training.
    """

    max_minutes: float
    max_steps: int
    learning_rate: float
    warm_up: int
    clip: float
    validate_every: int
    patience: int
    checkpoint_s: float

    def rate(self, step: int, planned: int) -> float:
        """Share of the largest learning rate."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        done = min((step - self.warm_up) / max(planned - self.warm_up, 1), 1.0)
        return _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * done))


class Scores(Protocol):
    """Scores of a network on held-out images; a frozen dataclass of numbers."""

    @property
    def step(self) -> int:
        """The step that it was scored at."""
        ...

    @property
    def merit(self) -> float:
        """The criterion for the best network, larger for a better one."""
        ...


Point = TypeVar("Point", bound=Scores)


class ResumableTraining(ABC, Generic[Point]):
    """A training's state, which changes only in ``_update`` and ``_validate``.

    It continues a checkpoint with the same ``fingerprint`` in ``folder``, and leaves one there when it is interrupted.
    """

    point_type: type[Any]

    def __init__(self, network: nn.Module, schedule: Schedule, folder: Path | None, fingerprint: str) -> None:
        self.network = network
        self.step = 0
        self.curve: list[Point] = []
        self.best_point: Point | None = None
        self._schedule, self._folder, self._fingerprint = schedule, folder, fingerprint
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=schedule.learning_rate)
        self._planned, self._seconds_before = schedule.max_steps, 0.0
        self._losses: list[float] = []
        self._best: dict[str, Tensor] = _copied(network.state_dict())
        self._is_changing = False
        self._started = time.monotonic()
        self._saved = -math.inf  # the first step is saved at once

    @abstractmethod
    def loss(self) -> Tensor:
        """The loss on the samples of this step."""

    @abstractmethod
    def score(self, mean_loss: float) -> Point:
        """Scores of the network as it is; ``mean_loss`` is that since the last ones."""

    def is_good_enough(self, point: Point) -> bool:
        """Whether a network of these scores is worth keeping when it gets no better."""
        return True

    def extra_state(self) -> dict[str, Any]:
        """What else changes during the training."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what ``extra_state`` gave."""

    def run(self, progress: ReportProgress) -> None:
        """Train to the end, and load the best network; an interruption leaves a checkpoint."""
        self._resume()
        try:
            while not self._is_done():
                self._advance()
                progress(self._fraction())
        finally:
            # A state that was just changing is not consistent; the last checkpoint stays then.
            if not self._is_changing:
                self._save()
        self.network.load_state_dict(self._best)

    def seconds(self) -> float:
        """Time spent on the training, that before an interruption included."""
        return self._seconds_before + time.monotonic() - self._started

    def _advance(self) -> None:
        loss = self.loss()
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._schedule.clip)
        self._is_changing = True
        self._update(float(loss.detach()))
        if self.step % self._schedule.validate_every == 0 or self.step == self._planned:
            self._validate()
        self._is_changing = False
        if time.monotonic() - self._saved > self._schedule.checkpoint_s:
            self._save()

    def _update(self, loss: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.learning_rate * self._schedule.rate(self.step, self._planned)
        self._optimizer.step()
        self.step += 1
        self._losses.append(loss)
        if self.step == max(self._schedule.warm_up, _TIMED_STEPS):
            self._plan()

    def _plan(self) -> None:
        """Let the schedule end when the time is up."""
        left = self._schedule.max_minutes * 60.0 - self.seconds()
        possible = self.step + int(_SPARE_TIME * left / self.seconds() * self.step)
        self._planned = max(min(self._schedule.max_steps, possible), self.step)

    def _validate(self) -> None:
        point = self.score(sum(self._losses) / max(len(self._losses), 1))
        self.curve.append(point)
        self._losses = []
        if self.best_point is None or point.merit > self.best_point.merit + _BETTER:
            self._best, self.best_point = _copied(self.network.state_dict()), point

    def _is_done(self) -> bool:
        best, schedule = self.best_point, self._schedule
        flat = best is not None and self.step - best.step >= schedule.patience and self.is_good_enough(best)
        return flat or self.step >= self._planned or self.seconds() >= schedule.max_minutes * 60.0

    def _fraction(self) -> float:
        return 1.0 if self._is_done() else self.step / self._planned

    def _save(self) -> None:
        if self._folder is None:
            return
        state: dict[str, Any] = {
            "fingerprint": self._fingerprint,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "best_step": self.best_point.step if self.best_point else None,
            "curve": [asdict(point) for point in self.curve],  # type: ignore[call-overload]
            "losses": self._losses,
            "step": self.step,
            "planned": self._planned,
            "seconds": self.seconds(),
            **self.extra_state(),
        }
        write_checkpoint(self._folder, state)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        """Continue from a checkpoint of this training, if there is one."""
        state = read_checkpoint(self._folder, self._fingerprint) if self._folder else None
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best = state["best"]
        self.curve = [self.point_type(**point) for point in state["curve"]]
        self.best_point = next((point for point in self.curve if point.step == state["best_step"]), None)
        self._losses, self.step, self._planned = state["losses"], state["step"], state["planned"]
        self._seconds_before = state["seconds"]
        self.restore(state)


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


CHECKPOINT_NAME = "training.pt"
_ONLY_OF_THE_RUN = ("max_minutes", "checkpoint_s", "device")  # options that may change when a training goes on


def fingerprint(training: type[Any], options: Mapping[str, Any], arrays: Iterable[NDArray[Any]]) -> str:
    """Identifies a training by its code, options (weights by content) and inputs: no other one's checkpoint goes on."""
    kept = {name: value for name, value in options.items() if name not in _ONLY_OF_THE_RUN}
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return artifact_key("training", training, kept, [digest.hexdigest()])


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write a training's state in place of the last one. Raises OutputError."""
    with atomic_write(folder / CHECKPOINT_NAME) as path:
        torch.save(state, path)


def read_checkpoint(folder: Path, expected: str) -> dict[str, Any] | None:
    """The state of the training with this fingerprint; None where there is none, or its file is damaged.

    Raises ModelError where it cannot be read: it may hold hours of training.
    """
    path = folder / CHECKPOINT_NAME
    if not exists(path):
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        reason = error.strerror or error
        raise ModelError(f"cannot read {path}: {reason}: see to that, or remove it to train from the begin") from error
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) and state.get("fingerprint") == expected else None
