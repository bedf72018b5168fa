"""DISK keypoints and descriptors as a ``LocalExtractor``."""

from __future__ import annotations

import torch

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.backends.disk_network import DIM, DiskNetwork
from visloc_ros.features.backends.tensors import as_tensor, pixel_scale
from visloc_ros.features.backends.weights import find_weights, load_weights, pick_device
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.images import as_rgb, reduce_image
from visloc_ros.features.one_by_one import OneByOne
from visloc_ros.features.pixels import colmap_from_network
from visloc_ros.features.types import ModelInfo

_WEIGHTS = ("depth-save", "disk-depth-save")


class DiskExtractor(OneByOne):
    """Finds DISK features with the weights trained on depth; they are read once, here."""

    descriptor_dim = DIM

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        if config.torch_threads:
            torch.set_num_threads(config.torch_threads)
        self._device = pick_device(config.device)
        network = DiskNetwork()
        sha256 = load_weights(network, find_weights(config.weights, _WEIGHTS), entry="extractor")
        self.network = network.eval().requires_grad_(False).to(self._device)
        self.info = ModelInfo("disk", "Apache-2.0", sha256)

    @torch.inference_mode()
    def extract(self, image: Image) -> LocalFeatures:
        """Features of a uint8 image, (H, W) grey or (H, W, 3) RGB, strongest first."""
        config = self._config
        reduced = reduce_image(image, config.resize_max)
        outputs = self.network(as_tensor(as_rgb(reduced), self._device), config.max_keypoints, config.nms_radius)
        pixels, scores, descriptors = (output.cpu().numpy() for output in outputs)
        keypoints = colmap_from_network(pixels, pixel_scale(image, reduced))
        return LocalFeatures(keypoints, scores, descriptors, (image.shape[1], image.shape[0]))
