"""Descriptors compared on a GPU: mutual neighbours in several images at once, and points within a window."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.features.nearest import NO_MATCHES, NearestMatcher, check_lengths
from visloc_ros.features.types import Matches

Float32 = NDArray[np.float32]
_BATCH_SIZE = 16  # bounds the memory of the similarities: 4 MB for two images of 1024 keypoints
_MOST_RESIDENT = 4096  # images: 1 GB of 512 descriptors each
_NOTHING = -2.0  # less than any similarity


class NearestOnGpu(NearestMatcher):
    """Finds what ``NearestMatcher`` finds; descriptors of images that live on stay on the GPU."""

    def __init__(self, device: torch.device, threshold: float = 0.1) -> None:
        super().__init__(threshold)
        self.device, self.batch_size = device, _BATCH_SIZE
        self._resident: weakref.WeakKeyDictionary[LocalFeatures, Tensor] = weakref.WeakKeyDictionary()

    def match_many(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> list[Matches]:
        """Matches of the query with every reference."""
        found = [NO_MATCHES] * len(references)
        filled = [place for place, reference in enumerate(references) if len(reference) and len(query)]
        if filled:
            partners, scores = self._partners(query, [references[place] for place in filled])
            for place, own_partners, own_scores in zip(filled, partners, scores, strict=True):
                rows = np.flatnonzero(own_scores > self.threshold)
                pairs = np.column_stack((rows, own_partners[rows])).astype(np.int32)
                found[place] = Matches(pairs, own_scores[rows].clip(0.0, 1.0))
        return found

    @torch.inference_mode()
    def _partners(self, query: LocalFeatures, references: Sequence[LocalFeatures]) -> tuple[Float32, Float32]:
        """The nearest neighbour in each reference (B, N), and how similar it is, ``_NOTHING`` where not mutual."""
        for reference in references:
            check_lengths(query, reference)
        known = torch.nn.utils.rnn.pad_sequence([self._descriptors(one) for one in references], batch_first=True)
        counts = torch.tensor([len(one) for one in references]).to(self.device)
        similarity = self._descriptors(query) @ known.mT
        is_padding = torch.arange(known.shape[1], device=self.device) >= counts[:, None]
        similarity = similarity.masked_fill(is_padding[:, None], _NOTHING)
        scores, partners = similarity.max(dim=2)
        back = similarity.argmax(dim=1).gather(1, partners)
        scores = torch.where(back == torch.arange(len(query), device=self.device), scores, _NOTHING)
        found = torch.stack((partners.float(), scores)).cpu().numpy()  # rows are exact in float32 up to 2^24
        return found[0], found[1]

    def _descriptors(self, features: LocalFeatures) -> Tensor:
        if features not in self._resident:
            if len(self._resident) >= _MOST_RESIDENT:
                self._resident.clear()
            self._resident[features] = _to_device(features.descriptors, self.device)
        return self._resident[features]


class SimilarityOnGpu:
    """How similar descriptors of keypoints (N, D) are to those of points (M, D)."""

    @torch.inference_mode()
    def __init__(self, device: torch.device, descriptors: Float32, known: Float32) -> None:
        self._similarity = _to_device(descriptors, device) @ _to_device(known, device).T

    @torch.inference_mode()
    def most_similar_within(
        self, keypoints: Float32, projected: Float32, window: float
    ) -> tuple[NDArray[np.intp], Float32]:
        """The point within the square window of each keypoint that is most similar, and how similar, or -2."""
        if not all(self._similarity.shape):
            return np.zeros(len(keypoints), np.intp), np.full(len(keypoints), _NOTHING, np.float32)
        pixels, points = (_to_device(part, self._similarity.device) for part in (keypoints, projected))
        is_near = ((pixels[:, None] - points).abs() <= window).all(dim=2)
        scores, best = torch.where(is_near, self._similarity, _NOTHING).max(dim=1)
        found = torch.stack((best.float(), scores)).cpu().numpy()
        return found[0].astype(np.intp), found[1]


def _to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)
