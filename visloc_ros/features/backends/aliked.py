"""ALIKED keypoints and descriptors as a ``LocalExtractor``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.backends.aliked_graph import GraphedAliked
from visloc_ros.features.backends.aliked_network import SIZES, STRIDE, AlikedNetwork
from visloc_ros.features.backends.weights import find_weights, load_weights, pick_device, pick_dtype
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.images import colmap_from_network
from visloc_ros.features.types import ModelInfo

_BATCH_SIZE = 8  # bounds the memory of the maps: 0.1 GB for each VGA image, 0.33 GB where it has 1024x1024


class AlikedExtractor:
    """Finds ALIKED features; the weights are read once, here."""

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        self.device = pick_device(config.device, config.torch_threads)
        sizes = SIZES[config.name]
        network = AlikedNetwork(sizes)
        sha256 = load_weights(network, find_weights(config.weights, (config.name,)))
        network.fold_normalization()
        self.network = network.eval().requires_grad_(False).to(self.device, self._dtype())
        self._find = GraphedAliked(self.network) if self.device.type == "cuda" else self.network
        self.info = ModelInfo(config.name, "BSD-3-Clause", sha256)
        self.descriptor_dim = sizes.dim
        # One VGA image is work enough for the cores of a CPU: batches of four took as long.
        self.batch_size = 1 if self.device.type == "cpu" else _BATCH_SIZE

    def _dtype(self) -> torch.dtype:
        """Number type of the network; half precision has been tried on processors, not on a GPU."""
        if self.config.precision == "auto" and self.device.type != "cpu":
            return torch.float32
        return pick_dtype(self.config.precision, self.device)

    def extract(self, image: Image) -> LocalFeatures:
        """Features of a uint8 image, (H, W) grey or (H, W, 3) RGB, strongest first; none on a uniform image."""
        return self.extract_many([image])[0]

    def extract_many(self, images: Sequence[Image]) -> list[LocalFeatures]:
        """Features of every image, in their order; at most ``batch_size`` that are resized to one shape at once."""
        resized = [self._resize(image) for image in images]
        found: dict[int, LocalFeatures] = {}
        for batch in _batches_of_one_shape(resized, self.batch_size):
            for index, outputs in zip(batch, self._run([resized[index] for index in batch]), strict=True):
                found[index] = _features(images[index], resized[index], *outputs)
        return [found[index] for index in range(len(images))]

    def _resize(self, image: Image) -> Image:
        height, width = image.shape[:2]
        factor = self.config.resize_max / max(height, width)
        if factor >= 1.0:
            return image
        size = (max(STRIDE, round(width * factor)), max(STRIDE, round(height * factor)))
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    @torch.inference_mode()
    def _run(self, images: Sequence[Image]) -> list[tuple[NDArray[np.float32], ...]]:
        """Keypoints in network pixels, scores and descriptors of every image; all have one shape."""
        pixels = torch.from_numpy(np.stack(images)).to(self.device).float() / 255.0
        planes = pixels[:, None].expand(-1, 3, -1, -1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        config = self.config
        found = self._find(planes, config.max_keypoints, config.detection_threshold, config.nms_radius)
        return [tuple(output.cpu().numpy() for output in outputs) for outputs in found]


def _batches_of_one_shape(images: Sequence[Image], batch_size: int) -> Iterator[list[int]]:
    """Rows of images of one shape, at most ``batch_size`` at once."""
    for shape in dict.fromkeys(image.shape for image in images):
        alike = [index for index, image in enumerate(images) if image.shape == shape]
        for start in range(0, len(alike), batch_size):
            yield alike[start : start + batch_size]


def _features(
    image: Image,
    resized: Image,
    keypoints: NDArray[np.float32],
    scores: NDArray[np.float32],
    descriptors: NDArray[np.float32],
) -> LocalFeatures:
    """Features in pixels of the image, found in the resized one."""
    height, width = image.shape[:2]
    scale = (resized.shape[1] / width, resized.shape[0] / height)
    return LocalFeatures(colmap_from_network(keypoints, scale), scores, descriptors, (width, height))
