"""Generalized-mean pooling (GeM) over a ResNet, whitened: Radenovic et al., TPAMI 2019, and Revaud et al., ICCV 2019.

The published networks were trained for landmarks: ``radenovic_gldv1`` on Google Landmarks, ``radenovic_sfm`` on
reconstructions, ``naver`` with a loss on average precision.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.backends.weights import (
    as_tensor,
    find_weights,
    hub_folder,
    load_weights,
    pick_device,
    read_state,
)
from visloc_ros.features.config import GEM_BACKBONES, GlobalConfig
from visloc_ros.features.images import as_rgb, reduce_image
from visloc_ros.features.types import ModelInfo
from visloc_ros.features.weights_catalogue import CHECKPOINTS

_ADDRESS = "http://cmp.felk.cvut.cz/cnnimageretrieval/data/networks"
_FILES = {
    ("radenovic_gldv1", "resnet101conv5"): "gl18-tl-resnet101-gem-w-a4d43db",
    ("radenovic_gldv1", "resnet50conv5"): "gl18-tl-resnet50-gem-w-83fdc30",
    ("radenovic_sfm", "resnet101conv5"): "rSfM120k-tl-resnet101-gem-w-a155e54",
    ("radenovic_sfm", "resnet50conv5"): "rSfM120k-tl-resnet50-gem-w-97bf910",
    ("naver", "resnet101conv5"): "Resnet-101-AP-GeM",
    ("naver", "resnet50conv5"): "Resnet50-AP-GeM",
}
_SOURCES = {
    "radenovic_gldv1": f"download it from {_ADDRESS}/gl18/",
    "radenovic_sfm": f"download it from {_ADDRESS}/retrieval-SfM-120k/",
    "naver": "download it as github.com/naver/deep-image-retrieval says; the file holds more than weights: write its "
    "'state_dict' alone with torch.save",
}
_LICENCES = {"naver": "BSD-3-Clause"}
_ENTRY = "state_dict"
_DIM = 2048
_RESIZE_MAX = 1024  # as its authors evaluate it
_LEAST = 1e-6
_DEEP_BLOCKS = 23  # of the third stage of a ResNet-101; a ResNet-50 has 6
# Layers of a ResNet by their names, and by their places in a sequence.
_PLACES = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class GemDescriptor:
    """Describes images by a published network; the weights are read once, here."""

    def __init__(self, config: GlobalConfig) -> None:
        path = find_gem_weights(config.name, GEM_BACKBONES[0], config.weights)
        self._device = pick_device(config.device)
        self._longest = config.resize_max or _RESIZE_MAX
        self._mean, self._deviation = (
            torch.tensor(values, device=self._device).view(1, 3, 1, 1) for values in (_MEAN, _DEVIATION)
        )
        try:
            state = read_state(path, "GemNetwork", _ENTRY)
        except ModelError as error:
            raise ModelError(f"{error}; {_SOURCES[config.name]}") from error
        self.network = GemNetwork(is_deep=_is_deep(state), normalizes_pooled=config.name != "naver")
        sha256 = load_weights(self.network, path, own_name, _ENTRY)
        self.network.eval().requires_grad_(False).to(self._device)
        self.info = ModelInfo(config.name, _LICENCES.get(config.name, "MIT"), sha256)

    @torch.inference_mode()
    def describe(self, image: Image, features: LocalFeatures) -> NDArray[np.float32]:
        """Unit vector (2048,) of a uint8 image, (H, W) grey or (H, W, 3) RGB."""
        planes = as_tensor(as_rgb(reduce_image(image, self._longest)), self._device)
        vector: NDArray[np.float32] = self.network((planes - self._mean) / self._deviation)[0].float().cpu().numpy()
        return vector


class GemNetwork(nn.Module):
    """Normalised image (1, 3, H, W) to a unit vector (1, 2048); with ``is_deep`` by a ResNet-101, else a ResNet-50."""

    def __init__(self, is_deep: bool, normalizes_pooled: bool) -> None:
        super().__init__()
        resnet = torchvision.models.resnet101() if is_deep else torchvision.models.resnet50()
        self.features = nn.Sequential(*list(resnet.children())[:-2])
        self.power = nn.Parameter(torch.tensor([3.0]))
        self.whiten = nn.Linear(_DIM, _DIM)
        self._normalizes_pooled = normalizes_pooled

    def forward(self, image: Tensor) -> Tensor:
        """The mean of each channel's powers, its root, whitened."""
        powers = self.features(image).clamp(min=_LEAST).pow(self.power)
        pooled = powers.mean(dim=(2, 3)).pow(1.0 / self.power)
        if self._normalizes_pooled:
            pooled = F.normalize(pooled, dim=1)
        return F.normalize(self.whiten(pooled), dim=1)


def find_gem_weights(name: str, backbone: str, explicit: str = "") -> Path:
    """Path of a network's weights. Raises ModelError that says where they are published."""
    file = _FILES[name, backbone]
    try:
        return find_weights(explicit, (file,))
    except ModelError as error:
        if explicit:
            raise
        raise ModelError(
            f"'{name}' needs the weights {file}.pth in {hub_folder() / CHECKPOINTS}, or as option 'weights': "
            f"{_SOURCES[name]}"
        ) from error


def own_name(name: str) -> str:
    """The name that a weight has here; the published files call it as their programs do."""
    name = re.sub(r"^(module|backbone)\.", "", name)
    name = re.sub(r"^(conv1|bn1|layer\d)\.", lambda found: f"features.{_PLACES[found[1]]}.", name)
    name = re.sub(r"^(\d)\.", r"features.\1.", name)
    name = re.sub(r"^(?:pool|adpool|aggregation(?:\.\d)*)\.p$", "power", name)
    name = re.sub(r"^(?:whiten|fc|aggregation\.\d)\.(weight|bias)$", r"whiten.\1", name)
    return "" if name.endswith("num_batches_tracked") else name


def _is_deep(state: Mapping[str, Tensor]) -> bool:
    return any(own_name(name).startswith(f"features.6.{_DEEP_BLOCKS - 1}.") for name in state)
