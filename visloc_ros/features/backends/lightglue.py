"""LightGlue as a ``Matcher``."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.hloc_layout import HLOC
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.features.backends.lightglue_batch import BatchMatcher, fill_up, present_points
from visloc_ros.features.backends.lightglue_layers import PublishedLightGlue
from visloc_ros.features.backends.lightglue_network import Adaptivity, LightGlueNetwork, Prepared
from visloc_ros.features.backends.weights import find_weights, load_weights, pick_device, pick_dtype
from visloc_ros.features.config import MatcherConfig
from visloc_ros.features.images import network_from_colmap
from visloc_ros.features.nearest import NO_MATCHES
from visloc_ros.features.types import Matches


class _Family(NamedTuple):
    """Extractors that one weights file is for; ``position_dim`` 4 adds size and angle to a keypoint's place."""

    descriptor_dim: int
    position_dim: int = 2


_BATCH_SIZE = 16  # bounds the memory of the attention
_FAMILIES = {
    "aliked": _Family(128),
    "disk": _Family(128),
    "sift": _Family(128, position_dim=4),
    "superpoint": _Family(256),
}


class LightGlueMatcher:
    """Matches images with LightGlue; the weights are read once, here, and repeated images are prepared once."""

    def __init__(self, config: MatcherConfig, extractor: str) -> None:
        name = re.split("[-_]", extractor.removeprefix(HLOC))[0]
        if name not in _FAMILIES:
            raise ModelError(f"there are no LightGlue weights for '{extractor}': use matcher 'nearest'")
        self._family = _FAMILIES[name]
        self.config = config
        self.device = pick_device(config.device)
        self.dtype = pick_dtype(config.precision, self.device)
        published = PublishedLightGlue(self._family.descriptor_dim, self._family.position_dim)
        weights = find_weights(config.weights, (f"{name}_lightglue", f"{name}_lightglue_v0-1_arxiv"))
        sha256 = load_weights(published, weights, _current_name)
        self.network = LightGlueNetwork(published, self.dtype).to(self.device)
        self.info = ModelInfo(f"lightglue-{name}", "Apache-2.0", sha256)
        self.batch_size = _BATCH_SIZE if _batches(config.batching, self._on_gpu) else 1
        self._adaptivity = Adaptivity(config.depth_confidence, config.width_confidence)
        self._cache = PreparedCache(config.cache_mb << 20)
        self._batch = BatchMatcher(self.network, config.filter_threshold, on_gpu=self._on_gpu)

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @torch.inference_mode()
    def match(self, a: LocalFeatures, b: LocalFeatures) -> Matches:
        """Mutual matches of one pair, with as many layers and points as it needs."""
        if len(a) == 0 or len(b) == 0:
            return NO_MATCHES
        pairs, scores = self.network.match_pair(self._prepared(a), self._prepared(b), self._adaptivity)
        keep = scores > self.config.filter_threshold
        return Matches(pairs[keep].cpu().numpy().astype(np.int32), scores[keep].cpu().numpy())

    @torch.inference_mode()
    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Mutual matches of the query with every reference; at once on a GPU or as the option ``batching`` says."""
        if self.batch_size == 1:
            return [self.match(query, reference) for reference in references]
        found = [NO_MATCHES] * len(references)
        filled = [index for index, reference in enumerate(references) if len(reference) and len(query)]
        if filled:
            prepared = self._cache.get_many([query, *(references[index] for index in filled)], self._prepare_many)
            for index, matches in zip(filled, self._batch.match(prepared[0], prepared[1:]), strict=True):
                found[index] = matches
        return found

    def _prepared(self, features: LocalFeatures) -> Prepared:
        return self._cache.get(features, lambda one: self._prepare_many([one])[0])

    def _prepare_many(self, images: Sequence[LocalFeatures]) -> list[Prepared]:
        """The images ready for matching; on a GPU all at once."""
        inputs = [self._inputs(features) for features in images]
        if not self._on_gpu:
            return [self.network.prepare(*map(torch.from_numpy, arrays)) for arrays in inputs]
        positions, descriptors, sizes = zip(*inputs, strict=True)
        counts = [len(features) for features in images]
        arrays = (fill_up(positions), fill_up(descriptors), np.stack(sizes), present_points(counts))
        states, encodings = self.network.prepare_batch(*(self._to_gpu(array) for array in arrays))
        prepared = zip(states.to(self.dtype), encodings, counts, strict=True)
        return [Prepared(state[:count], encoding[:count]) for state, encoding, count in prepared]

    def _inputs(self, features: LocalFeatures) -> tuple[NDArray[np.float32], ...]:
        """Positions, descriptors and the image's size. Raises ModelError for features of another extractor."""
        if features.descriptors.shape[1] != self._family.descriptor_dim:
            raise ModelError(
                f"{self.info.name} matches descriptors of length {self._family.descriptor_dim}, not "
                f"{features.descriptors.shape[1]}: the features come from another extractor"
            )
        upright = features.upright
        arrays = (self._positions(upright), upright.descriptors, upright.image_size)
        return tuple(np.ascontiguousarray(array, np.float32) for array in arrays)

    def _to_gpu(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).pin_memory().to(self.device, non_blocking=True)

    def _positions(self, features: LocalFeatures) -> NDArray[np.float32]:
        """Network pixels (N, 2), with sizes and angles (N, 4) where the weights need them."""
        pixels = network_from_colmap(features.keypoints)
        if self._family.position_dim == pixels.shape[1]:
            return pixels
        if features.scales_angles is None:
            raise ModelError(f"{self.info.name} needs the sizes and angles of keypoints: the features do not hold them")
        return np.column_stack((pixels, features.scales_angles))


def _batches(option: str, on_gpu: bool) -> bool:
    return option == "always" or (option == "auto" and on_gpu)


def _current_name(name: str) -> str:
    """Name of a weight in today's layout; the first release listed attention blocks by kind, then by layer.

    Nothing for a number that the weights for DISK carry and no version of LightGlue reads.
    """
    if re.fullmatch(r"log_assignment\.\d+\.r", name):
        return ""
    return re.sub(r"^(self|cross)_attn\.(\d+)\.", r"transformers.\2.\1_attn.", name)


class _Entry(NamedTuple):
    features: weakref.ref[LocalFeatures]
    prepared: Prepared


class PreparedCache:
    """Prepared images, least recently used first, within a memory limit but never fewer than the newest two.

    An image is identified by its features object: the features of a map live as long as the map, those of a query are
    released with it, and its entry when the next one is made.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, features: LocalFeatures, prepare: Callable[[LocalFeatures], Prepared]) -> Prepared:
        """The prepared image, by ``prepare`` where it is not known."""
        entry = self._known(features)
        self._entries.pop(id(features), None)
        if entry is None:
            entry = _Entry(weakref.ref(features), prepare(features))
            self._make_room(entry.prepared.num_bytes)
        self._entries[id(features)] = entry
        return entry.prepared

    def get_many(
        self,
        images: Sequence[LocalFeatures],
        prepare_many: Callable[[Sequence[LocalFeatures]], Sequence[Prepared]],
    ) -> list[Prepared]:
        """The prepared images, all those that are not known by one call of ``prepare_many``."""
        known = {id(features): self._known(features) for features in images}
        missing = list({id(features): features for features in images if known[id(features)] is None}.values())
        ready = {key: entry.prepared for key, entry in known.items() if entry is not None}
        if missing:
            ready.update(zip(map(id, missing), prepare_many(missing), strict=True))
        return [self.get(features, lambda one: ready[id(one)]) for features in images]

    def _known(self, features: LocalFeatures) -> _Entry | None:
        entry = self._entries.get(id(features))
        return None if entry is None or entry.features() is not features else entry

    def _make_room(self, wanted: int) -> None:
        alive = {key: entry for key, entry in self._entries.items() if entry.features() is not None}
        total = wanted + sum(entry.prepared.num_bytes for entry in alive.values())
        for key in list(alive)[:-1]:
            if total <= self._max_bytes:
                break
            total -= alive.pop(key).prepared.num_bytes
        self._entries = alive
