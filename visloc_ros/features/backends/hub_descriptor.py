"""Global descriptors from torch.hub repositories that are already on this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.backends.offline import make_offline
from visloc_ros.features.backends.weights import as_tensor, digest, hub_folder, pick_device
from visloc_ros.features.config import GlobalConfig
from visloc_ros.features.images import as_rgb, reduce_image
from visloc_ros.features.types import ModelInfo

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Means of a network that was converted from Caffe, which counts pixels up to 255.
_CAFFE = ((0.48501960784313836, 0.4579568627450961, 0.4076039215686255), (1 / 255, 1 / 255, 1 / 255))


class HubModel(NamedTuple):
    """A repository of torch.hub, its entry point, and how its images are prepared."""

    repository: str
    entry: str
    arguments: Mapping[str, Any]
    licence: str
    resize_max: int
    multiple: int = 1
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET


HUB_MODELS = MappingProxyType(
    {
        "eigenplaces": HubModel(
            "gmberton/EigenPlaces", "get_trained_model", {"backbone": "ResNet50", "fc_output_dim": 2048}, "MIT", 640
        ),
        "megaloc": HubModel("gmberton/MegaLoc", "get_trained_model", {}, "MIT", 322, 14),
        "salad": HubModel("serizba/salad", "dinov2_salad", {}, "GPL-3.0", 322, 14),
        "openibl": HubModel("yxgeee/OpenIBL", "vgg16_netvlad", {"pretrained": True}, "MIT", 640, normalization=_CAFFE),
    }
)


class HubDescriptor:
    """Describes images with a network out of torch.hub's folder; nothing is downloaded."""

    def __init__(self, config: GlobalConfig) -> None:
        model = HUB_MODELS[config.name]
        self._device = pick_device(config.device)
        self._longest = config.resize_max or model.resize_max
        self._multiple = model.multiple
        self._mean, self._deviation = (
            torch.tensor(values, device=self._device).view(1, 3, 1, 1) for values in model.normalization
        )
        self._network = _load(config.name, model).eval().requires_grad_(False).to(self._device)
        self._one_at_a_time = threading.Lock()
        self.info = ModelInfo(config.name, model.licence, digest(self._network))

    @torch.inference_mode()
    def describe(self, image: Image, features: LocalFeatures) -> NDArray[np.float32]:
        """Unit vector (G,) of a uint8 image, (H, W) grey or (H, W, 3) RGB."""
        planes = as_tensor(as_rgb(reduce_image(image, self._longest, self._multiple)), self._device)
        with self._one_at_a_time:
            output: Tensor = self._network((planes - self._mean) / self._deviation)
        vector = output.flatten().float().cpu().numpy()
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def _load(name: str, model: HubModel) -> nn.Module:
    command = f"python -c \"import torch; torch.hub.load('{model.repository}', '{model.entry}')\""
    advice = f"run {command} where there is a network, and copy the folder {hub_folder()} here"
    folder = _cached_repository(model.repository)
    if folder is None:
        raise ModelError(f"'{name}' needs the torch.hub repository {model.repository}: {advice}")

    def make() -> nn.Module:
        network: nn.Module = torch.hub.load(  # type: ignore[no-untyped-call]
            str(folder), model.entry, source="local", **model.arguments
        )
        return network

    return make_offline(name, make, advice)


def _cached_repository(repository: str) -> Path | None:
    """Folder OWNER_NAME_BRANCH of torch.hub, in the letter case of its first request."""
    prefix = f"{repository.replace('/', '_')}_".lower()
    if not hub_folder().is_dir():
        return None
    return next((path for path in sorted(hub_folder().iterdir()) if path.name.lower().startswith(prefix)), None)
