"""The official weights, read strictly into the network."""

from __future__ import annotations

from pathlib import Path

import torch

from visloc_ros.core.errors import ModelError
from visloc_ros.features.backends.weights import find_weights, load_weights
from visloc_ros.odometry.dpvo.network import PatchNetwork

_NAMES = ("dpvo",)
_TRAINING_ONLY = "update.lmbda"


def load_network(path: str | Path, device: torch.device) -> PatchNetwork:
    """The network with the weights of ``path``, or of dpvo.pth in torch's cache where the path is empty; for inference.

    The file is a state dictionary as published: names may begin with ``module.``, and what only training needs is
    left out. Raises ModelError when the file is missing, damaged, or of another network.
    """
    if str(path) and not Path(path).expanduser().is_file():
        raise ModelError(f"the weights file {path} does not exist: 'visloc fetch-weights dpvo' gets the official one")
    network = PatchNetwork()
    load_weights(network, find_weights(str(path), _NAMES), _published_name)
    return network.eval().requires_grad_(False).to(device)


def _published_name(name: str) -> str:
    return "" if _TRAINING_ONLY in name else name.replace("module.", "")
