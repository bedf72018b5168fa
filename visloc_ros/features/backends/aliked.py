"""ALIKED keypoints and descriptors as a ``LocalExtractor``."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.backends.aliked_network import SIZES, STRIDE, AlikedNetwork
from visloc_ros.features.backends.weights import find_weights, load_weights, pick_device, pick_dtype
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.pixels import colmap_from_network
from visloc_ros.features.types import ModelInfo


class AlikedExtractor:
    """Finds ALIKED features; the weights are read once, here."""

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        if config.torch_threads:
            torch.set_num_threads(config.torch_threads)
        self.device = pick_device(config.device)
        sizes = SIZES[config.name]
        network = AlikedNetwork(sizes)
        sha256 = load_weights(network, find_weights(config.weights, (config.name,)))
        network.fold_normalization()
        self.network = network.eval().requires_grad_(False).to(self.device, self._dtype())
        self.info = ModelInfo(config.name, "BSD-3-Clause", sha256)
        self.descriptor_dim = sizes.dim

    def _dtype(self) -> torch.dtype:
        """Number type of the network; half precision has been tried on processors, not on a GPU."""
        if self.config.precision == "auto" and self.device.type != "cpu":
            return torch.float32
        return pick_dtype(self.config.precision, self.device)

    def extract(self, image: Image) -> LocalFeatures:
        """Features of a uint8 image, (H, W) grey or (H, W, 3) RGB, strongest first; none on a uniform image."""
        height, width = image.shape[:2]
        resized = self._resize(image)
        scale = (resized.shape[1] / width, resized.shape[0] / height)
        keypoints, scores, descriptors = self._run(resized)
        return LocalFeatures(colmap_from_network(keypoints, scale), scores, descriptors, (width, height))

    def _resize(self, image: Image) -> Image:
        height, width = image.shape[:2]
        factor = self.config.resize_max / max(height, width)
        if factor >= 1.0:
            return image
        size = (max(STRIDE, round(width * factor)), max(STRIDE, round(height * factor)))
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    @torch.inference_mode()
    def _run(self, image: Image) -> tuple[NDArray[np.float32], ...]:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).float() / 255.0
        planes = pixels.expand(3, -1, -1) if image.ndim == 2 else pixels.permute(2, 0, 1)
        config = self.config
        outputs = self.network(planes[None], config.max_keypoints, config.detection_threshold, config.nms_radius)
        return tuple(output.cpu().numpy() for output in outputs)
