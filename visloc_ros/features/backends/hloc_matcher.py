"""Any matcher of an installed hloc as a ``Matcher``."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.backends.hloc_package import LICENCE, make_network, read_conf
from visloc_ros.features.backends.tensors import digest
from visloc_ros.features.backends.weights import pick_device
from visloc_ros.features.config import MatcherConfig
from visloc_ros.features.pixels import network_from_colmap
from visloc_ros.features.types import Matches, ModelInfo

_MODULE = "match_features"


class HlocMatcher:
    """Matches two images by an hloc configuration."""

    def __init__(self, config: MatcherConfig) -> None:
        self._device = pick_device(config.device)
        conf = read_conf(config.name, _MODULE)
        self._network = make_network(config.name, "matchers", conf, self._device)
        self._one_at_a_time = threading.Lock()
        self.info = ModelInfo(config.name, LICENCE, digest(self._network))
        self.batch_size = 1

    @torch.inference_mode()
    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual matches. Raises ModelError where hloc's matcher cannot take these features."""
        if len(a) == 0 or len(b) == 0:
            return Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32))
        inputs = {**self._inputs(a, "0"), **self._inputs(b, "1")}
        try:
            with self._one_at_a_time:
                found = self._network(inputs)
        except (AssertionError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"'{self.info.name}' cannot match these features ({error}): use another matcher"
            ) from error
        partner = found["matches0"][0].cpu().numpy()
        rows = np.flatnonzero(partner >= 0)
        scores = found["matching_scores0"][0].cpu().numpy() if "matching_scores0" in found else np.ones(len(partner))
        pairs = np.column_stack((rows, partner[rows])).astype(np.int32)
        return Matches(pairs, scores[rows].astype(np.float32).clip(0.0, 1.0))

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Mutual matches of the query with every reference."""
        return [self.match(query, reference) for reference in references]

    def _inputs(self, features: LocalFeatures, side: str) -> dict[str, Tensor]:
        """One image as hloc reads it from its files: a batch of one, descriptors (1, D, N), angles in degrees."""
        arrays = {
            "keypoints": network_from_colmap(features.keypoints),
            "scores": features.scores,
            "descriptors": np.ascontiguousarray(features.descriptors.T),
            "image_size": np.array(features.image_size),
        }
        if features.scales_angles is not None:
            scales, angles = features.scales_angles.T
            arrays |= {"scales": np.ascontiguousarray(scales), "oris": np.degrees(angles)}
        tensors = {
            f"{name}{side}": torch.from_numpy(np.asarray(values, np.float32))[None].to(self._device)
            for name, values in arrays.items()
        }
        width, height = features.image_size
        return tensors | {f"image{side}": torch.empty((1, 1, height, width))}
