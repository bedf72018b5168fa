"""LightGlue as a ``Matcher``."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from visloc_ros.core.errors import ModelError
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.hloc_layout import HLOC
from visloc_ros.core.manifest import ModelInfo
from visloc_ros.features.backends.lightglue_layers import PublishedLightGlue
from visloc_ros.features.backends.lightglue_network import Adaptivity, LightGlueNetwork, Prepared
from visloc_ros.features.backends.weights import find_weights, load_weights, pick_device, pick_dtype
from visloc_ros.features.config import MatcherConfig
from visloc_ros.features.images import network_from_colmap
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
        self._batch = BatchMatcher(self.network, config.filter_threshold)

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
            prepared = [self._prepared(references[index]) for index in filled]
            for index, matches in zip(filled, self._batch.match(self._prepared(query), prepared), strict=True):
                found[index] = matches
        return found

    def _prepared(self, features: LocalFeatures) -> Prepared:
        return self._cache.get(features, self._prepare)

    def _prepare(self, features: LocalFeatures) -> Prepared:
        if features.descriptors.shape[1] != self._family.descriptor_dim:
            raise ModelError(
                f"{self.info.name} matches descriptors of length {self._family.descriptor_dim}, not "
                f"{features.descriptors.shape[1]}: the features come from another extractor"
            )
        size = np.asarray(features.image_size, np.float32)
        arrays = (self._positions(features), np.asarray(features.descriptors, np.float32), size)
        state, encoding = self.network.prepare(*(self._to_device(array) for array in arrays))
        return Prepared(state.to(self.dtype), encoding) if self._on_gpu else Prepared(state, encoding)

    def _to_device(self, array: NDArray[np.float32]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory().to(self.device, non_blocking=True) if self._on_gpu else tensor

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


NO_MATCHES = Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32))
_POINTS_STEP = 128  # points that images are filled up to: a GPU is fastest with few different shapes


class BatchMatcher:
    """Pads images to one size, runs the network once, and splits the matches by reference."""

    def __init__(self, network: LightGlueNetwork, threshold: float) -> None:
        self._network, self._threshold = network, threshold

    def match(self, query: Prepared, references: Sequence[Prepared]) -> list[Matches]:
        """Matches of the query with each of at least one reference; every image must have points."""
        states, encodings, present = _fill_up([query, *references])
        filled = Prepared(states[0], encodings[0]), Prepared(states[1:], encodings[1:])
        partners, scores = self._network.match_batch(*filled, present)
        both = torch.stack((partners.float(), scores)).cpu().numpy()  # indices are exact in float32 up to 2^24
        return [self._matches(both[:, index, : len(query.state)]) for index in range(len(references))]

    def _matches(self, partners_scores: NDArray[np.float32]) -> Matches:
        partners, scores = partners_scores
        rows = np.flatnonzero((partners >= 0) & (scores > self._threshold))
        return Matches(np.column_stack((rows, partners[rows])).astype(np.int32), scores[rows])


def _fill_up(images: Sequence[Prepared]) -> tuple[Tensor, Tensor, Tensor]:
    """States (B, P, 256), encodings (B, P, 64), and which points (B, P) are no padding."""
    sizes = [len(image.state) for image in images]
    count = -(-max(sizes) // _POINTS_STEP) * _POINTS_STEP
    states, encodings = (
        torch.stack([F.pad(x, (0, 0, 0, count - len(x))) for x in tensors]) for tensors in zip(*images, strict=True)
    )
    present = torch.from_numpy(np.arange(count) < np.array(sizes)[:, None])
    if states.is_cuda:
        present = present.pin_memory().to(states.device, non_blocking=True)
    return states, encodings, present


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
        entry = self._entries.pop(id(features), None)
        if entry is None or entry.features() is not features:
            entry = _Entry(weakref.ref(features), prepare(features))
            self._make_room(entry.prepared.num_bytes)
        self._entries[id(features)] = entry
        return entry.prepared

    def _make_room(self, wanted: int) -> None:
        alive = {key: entry for key, entry in self._entries.items() if entry.features() is not None}
        total = wanted + sum(entry.prepared.num_bytes for entry in alive.values())
        for key in list(alive)[:-1]:
            if total <= self._max_bytes:
                break
            total -= alive.pop(key).prepared.num_bytes
        self._entries = alive
