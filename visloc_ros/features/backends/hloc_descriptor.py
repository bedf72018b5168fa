"""Any global descriptor of an installed hloc as a ``GlobalDescriptor``."""

from __future__ import annotations

import threading

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
from visloc_ros.features.config import GlobalConfig
from visloc_ros.features.types import ModelInfo


class HlocDescriptor:
    """Describes images by an hloc configuration."""

    def __init__(self, config: GlobalConfig) -> None:
        self._device = pick_device(config.device)
        conf = read_conf(config.name, "extract_features")
        self._preprocessing = dict(conf["preprocessing"])
        if config.resize_max:
            self._preprocessing["resize_max"] = config.resize_max
        self._network = make_network(config.name, "extractors", conf, self._device)
        self._one_at_a_time = threading.Lock()
        self.info = ModelInfo(config.name, LICENCE, digest(self._network))

    @torch.inference_mode()
    def describe(self, image: Image, features: LocalFeatures) -> NDArray[np.float32]:
        """Unit vector (G,) of a uint8 image, (H, W) grey or (H, W, 3) RGB."""
        with self._one_at_a_time:
            found = self._network({"image": prepare(image, self._preprocessing, self._device)})
        if "global_descriptor" not in found:
            raise ConfigError(f"'{self.info.name}' finds local features: give it as extractor")
        vector = found["global_descriptor"][0].float().cpu().numpy()
        return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)
