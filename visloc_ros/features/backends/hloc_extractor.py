"""Any local extractor of an installed hloc as a ``LocalExtractor``."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.types import Image
from visloc_ros.features.backends.hloc_images import prepare
from visloc_ros.features.backends.hloc_package import LICENCE, make_network, read_conf
from visloc_ros.features.backends.tensors import digest
from visloc_ros.features.backends.weights import pick_device
from visloc_ros.features.config import FeatureConfig
from visloc_ros.features.one_by_one import OneByOne
from visloc_ros.features.pixels import colmap_from_network
from visloc_ros.features.types import ModelInfo

_MODULE = "extract_features"
_PROBE_SIDE = 256


class HlocExtractor(OneByOne):
    """Runs an extractor by its hloc configuration, and keeps the strongest ``max_keypoints``."""

    def __init__(self, config: FeatureConfig) -> None:
        self._config = config
        if config.torch_threads:
            torch.set_num_threads(config.torch_threads)
        self._device = pick_device(config.device)
        self._conf = read_conf(config.name, _MODULE)
        self._network = make_network(config.name, "extractors", self._conf, self._device)
        self._one_at_a_time = threading.Lock()
        self.info = ModelInfo(config.name, LICENCE, digest(self._network))
        self.descriptor_dim = self._measure_descriptors()

    def extract(self, image: Image) -> LocalFeatures:
        """Features of a uint8 image, (H, W) grey or (H, W, 3) RGB, strongest first."""
        found, scale = self._run(image)
        scores = _scores(found)
        order = np.argsort(-scores, kind="stable")[: self._config.max_keypoints]
        return LocalFeatures(
            colmap_from_network(found["keypoints"][order], scale),
            scores[order],
            np.ascontiguousarray(found["descriptors"].T[order], np.float32),
            (image.shape[1], image.shape[0]),
            _scales_angles(found, scale, order),
        )

    @torch.inference_mode()
    def _run(self, image: Image) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float64]]:
        """The output of hloc's model, and resized size / original size."""
        planes = prepare(image, self._conf["preprocessing"], self._device)
        with self._one_at_a_time:
            found = self._network({"image": planes})
        arrays = {name: np.asarray(values[0].cpu().numpy(), np.float32) for name, values in found.items()}
        return arrays, np.array(planes.shape[:1:-1]) / image.shape[1::-1]

    def _measure_descriptors(self) -> int:
        noise = np.random.default_rng(0).integers(0, 256, (_PROBE_SIDE, _PROBE_SIDE, 3), np.uint8)
        found, _ = self._run(noise)
        if "descriptors" not in found:
            raise ConfigError(f"'{self._config.name}' describes whole images: give it as global descriptor")
        return len(found["descriptors"])


def _scores(found: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    for name in ("keypoint_scores", "scores"):
        if name in found:
            return found[name]
    return np.ones(len(found["keypoints"]), np.float32)


def _scales_angles(
    found: Mapping[str, Any], scale: NDArray[np.float64], order: NDArray[np.intp]
) -> NDArray[np.float32] | None:
    """Size [px of the original image] and angle [rad]; hloc gives degrees."""
    if "scales" not in found or "oris" not in found:
        return None
    columns = (found["scales"] / scale.mean(), np.radians(found["oris"]))
    return np.column_stack(columns)[order].astype(np.float32)
