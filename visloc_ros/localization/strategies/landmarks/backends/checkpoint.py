"""State of an unfinished training on disk: written atomically, read as plain numbers and tensors only."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.localization.strategies.landmarks.tokens import LabelledImage
from visloc_ros.localization.strategies.landmarks.training_config import TrainingConfig

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
