"""LightGlue as a ``Matcher``."""

from __future__ import annotations

import re
import weakref

import numpy as np
import torch

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.features.backends.lightglue_network import LightGlueNetwork, Prepared
from visloc_ros.features.backends.weights import find_weights, load_weights, pick_device, pick_dtype
from visloc_ros.features.config import MatcherConfig
from visloc_ros.features.pixels import network_from_colmap
from visloc_ros.features.types import Matches

_WEIGHTS_OF_EXTRACTOR = {"aliked": ("aliked_lightglue", "aliked_lightglue_v0-1_arxiv")}
_DESCRIPTOR_DIM = 128


class LightGlueMatcher:
    """Matches two images with LightGlue; the weights are read once, here."""

    def __init__(self, config: MatcherConfig, extractor: str) -> None:
        family = extractor.split("-")[0]
        if family not in _WEIGHTS_OF_EXTRACTOR:
            raise ModelError(f"there are no LightGlue weights for '{extractor}': use matcher 'nearest'")
        self.config = config
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.precision, self.device)
        network = LightGlueNetwork(_DESCRIPTOR_DIM)
        sha256 = load_weights(network, find_weights(config.weights, _WEIGHTS_OF_EXTRACTOR[family]), _current_name)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.network.store_transformers_as(self.dtype)
        self.info = ModelInfo(f"lightglue-{family}", "Apache-2.0", sha256)
        self._query: tuple[weakref.ref[LocalFeatures], Prepared] | None = None

    @torch.inference_mode()
    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual matches; successive calls with the same ``a`` share the work that concerns ``a`` alone."""
        if len(a) == 0 or len(b) == 0:
            return Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32))
        config = self.config
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            pairs, scores = self.network(
                self._prepare_query(a),
                self._prepare(b),
                config.depth_confidence,
                config.width_confidence,
                config.filter_threshold,
            )
        return Matches(pairs.cpu().numpy().astype(np.int32), scores.float().cpu().numpy())

    def _prepare_query(self, features: LocalFeatures) -> Prepared:
        if self._query is None or self._query[0]() is not features:
            self._query = (weakref.ref(features), self._prepare(features))
        return self._query[1]

    def _prepare(self, features: LocalFeatures) -> Prepared:
        if features.descriptors.shape[1] != _DESCRIPTOR_DIM:
            raise ModelError(
                f"{self.info.name} matches descriptors of length {_DESCRIPTOR_DIM}, not "
                f"{features.descriptors.shape[1]}: the features come from another extractor"
            )
        keypoints = torch.from_numpy(network_from_colmap(features.keypoints)).to(self.device)
        descriptors = torch.from_numpy(np.asarray(features.descriptors, dtype=np.float32)).to(self.device)
        size = torch.tensor(features.image_size, dtype=torch.float32, device=self.device)
        prepared: Prepared = self.network.prepare(keypoints, descriptors, size)
        return prepared


def _current_name(name: str) -> str:
    """Name of a weight in today's layout; the first release listed attention blocks by kind, then by layer."""
    return re.sub(r"^(self|cross)_attn\.(\d+)\.", r"transformers.\2.\1_attn.", name)
