"""LighterGlue, the small LightGlue for XFeat (Potje et al., CVPR 2024), by the network of ``kornia``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from kornia.feature import LightGlue
from numpy.typing import NDArray
from torch import Tensor

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.features.backends.weights import find_weights, load_weights, pick_device
from visloc_ros.features.config import MatcherConfig
from visloc_ros.features.images import network_from_colmap
from visloc_ros.features.nearest import NO_MATCHES
from visloc_ros.features.types import Matches

DESCRIPTOR_DIM = 64
ARCHITECTURE = {"input_dim": DESCRIPTOR_DIM, "descriptor_dim": 96, "n_layers": 6, "num_heads": 1}
_ADAPTIVITY = {"depth_confidence": -1, "width_confidence": 0.95}  # as its authors run it: always to the last layer
_THRESHOLDS = "confidence_thresholds"  # computed, and in no file
_PREFIX = "matcher."  # the file also holds XFeat


class LighterGlueMatcher:
    """Matches features of XFeat in float32, a pair at a time; the weights are read once, here."""

    batch_size = 1

    def __init__(self, config: MatcherConfig) -> None:
        self._device = pick_device(config.device)
        network = LightGlue(None, **ARCHITECTURE, **_ADAPTIVITY, filter_threshold=config.filter_threshold)
        network.register_buffer(_THRESHOLDS, network.get_buffer(_THRESHOLDS), persistent=False)
        sha256 = load_weights(network, find_weights(config.weights, ("xfeat-lighterglue",)), _own_name)
        self._network = network.eval().requires_grad_(False).to(self._device)
        self.info = ModelInfo("lighterglue-xfeat", "Apache-2.0", sha256)

    @torch.inference_mode()
    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual matches of one pair. Raises ModelError for features of another extractor."""
        if len(a) == 0 or len(b) == 0:
            return NO_MATCHES
        found = self._network({"image0": self._inputs(a), "image1": self._inputs(b)})
        pairs, scores = (found[name][0].cpu().numpy() for name in ("matches", "scores"))
        return Matches(pairs.astype(np.int32), scores)

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Mutual matches of the query with every reference."""
        return [self.match(query, reference) for reference in references]

    def _inputs(self, features: LocalFeatures) -> dict[str, Tensor]:
        if features.descriptors.shape[1] != DESCRIPTOR_DIM:
            raise ModelError(
                f"{self.info.name} matches descriptors of length {DESCRIPTOR_DIM}, not "
                f"{features.descriptors.shape[1]}: the features come from another extractor"
            )
        features = features.upright
        return {
            "keypoints": self._tensor(network_from_colmap(features.keypoints)),
            "descriptors": self._tensor(features.descriptors),
            "image_size": self._tensor(features.image_size),
        }

    def _tensor(self, values: NDArray[np.float32] | tuple[int, int]) -> Tensor:
        return torch.from_numpy(np.array(values, np.float32))[None].to(self._device)


def _own_name(name: str) -> str:
    """Name of a weight in the network; nothing for those of XFeat."""
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else ""
