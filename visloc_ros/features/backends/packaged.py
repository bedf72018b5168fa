"""Extractors of other packages as a ``LocalExtractor``: SuperPoint of ``lightglue``, XFeat of ``kornia``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.backends.offline import make_offline
from visloc_ros.features.backends.weights import (
    as_tensor,
    digest,
    find_weights,
    load_weights,
    pick_device,
    pixel_scale,
)
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.images import as_grey, as_rgb, colmap_from_network, reduce_image
from visloc_ros.features.types import ModelInfo, OneByOne


class _Package(NamedTuple):
    """How one package makes and runs its network; image sides must be multiples of ``multiple``."""

    make: Callable[[FeatureConfig], nn.Module]
    run: Callable[[Any, Tensor], dict[str, Tensor]]
    descriptor_dim: int
    licence: str
    is_grey: bool
    multiple: int


def _make_superpoint(config: FeatureConfig) -> nn.Module:
    from lightglue import SuperPoint

    network: nn.Module = SuperPoint(max_num_keypoints=config.max_keypoints)
    return network


def _run_superpoint(network: Any, image: Tensor) -> dict[str, Tensor]:
    return {name: values[0] for name, values in network({"image": image}).items()}


def _make_xfeat(config: FeatureConfig) -> nn.Module:
    from kornia.feature import XFeat

    network: nn.Module = XFeat(top_k=config.max_keypoints)
    load_weights(network.get_submodule("net"), find_weights(config.weights, ("xfeat",)))
    return network


def _run_xfeat(network: Any, image: Tensor) -> dict[str, Tensor]:
    found = network.detectAndCompute(image)[0]
    return {
        "keypoints": found["keypoints"],
        "keypoint_scores": found["scores"],
        "descriptors": found["descriptors"],
    }


_PACKAGES = {
    "superpoint": _Package(
        _make_superpoint, _run_superpoint, 256, "non-commercial (Magic Leap)", is_grey=True, multiple=8
    ),
    "xfeat": _Package(_make_xfeat, _run_xfeat, 64, "Apache-2.0", is_grey=False, multiple=32),
}


class PackagedExtractor(OneByOne):
    """Runs the network of an installed package; the weights are read once, here."""

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        self._package = _PACKAGES[config.name]
        self._device = pick_device(config.device, config.torch_threads)
        network = make_offline(
            config.name,
            lambda: self._package.make(config),
            "use it once where there is a network, and copy the folder of torch.hub",
        )
        self._network = network.eval().requires_grad_(False).to(self._device)
        self._one_at_a_time = threading.Lock()
        self.descriptor_dim = self._package.descriptor_dim
        self.info = ModelInfo(config.name, self._package.licence, digest(network))

    @torch.inference_mode()
    def extract(self, image: Image) -> LocalFeatures:
        """Features of a uint8 image, (H, W) grey or (H, W, 3) RGB."""
        package = self._package
        reduced = reduce_image(image, self._config.resize_max, package.multiple)
        planes = as_tensor(as_grey(reduced) if package.is_grey else as_rgb(reduced), self._device)
        with self._one_at_a_time:
            found = {name: values.cpu().numpy() for name, values in package.run(self._network, planes).items()}
        keypoints = colmap_from_network(found["keypoints"], pixel_scale(image, reduced))
        size = (image.shape[1], image.shape[0])
        return LocalFeatures(keypoints, found["keypoint_scores"], found["descriptors"], size)
