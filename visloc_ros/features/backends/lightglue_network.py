"""LightGlue (Lindenberger et al., ICCV 2023) for inference: one pair adaptively, or one image with many at once.

With one pair, depth and width adapt: matching ends at the first layer whose points are confident enough, and points
that are surely unmatchable are dropped on the way. With many, every pair runs to the last layer with all its points,
in tensors of one size, which suits a GPU. The computation of a layer for one image alone before the first exchange
(``prepare``) is done once per image and reused for every pair that the image is part of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from visloc_ros.features.backends.lightglue_layers import (
    LAYERS,
    Assignment,
    Images,
    Layer,
    PublishedLightGlue,
    attend,
    rotary_encoding,
)

_MIN_POINTS_TO_PRUNE = {"cpu": 64, "cuda": 1536}


class Prepared(NamedTuple):
    """One image ready for matching: state (N, 256) after its first self-attention, rotary encoding (N, 64)."""

    state: Tensor
    encoding: Tensor

    @property
    def num_bytes(self) -> int:
        """Its bytes in memory."""
        return sum(tensor.nbytes for tensor in self)


class Adaptivity(NamedTuple):
    """When to end early and which points to drop: see ``MatcherConfig.depth_confidence`` and ``width_confidence``."""

    depth: float
    width: float


class LightGlueNetwork(nn.Module):
    """Keypoints and descriptors of images to partners and their scores; matrix products in ``dtype``."""

    @torch.no_grad()
    def __init__(self, published: PublishedLightGlue, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.input_proj = published.input_proj
        self.angles = published.posenc.Wr
        self.layers = nn.ModuleList(Layer(layer, dtype) for layer in published.layers)
        self.assignments = nn.ModuleList(Assignment(head) for head in published.assignments)
        self.token_confidence = nn.ModuleList(published.tokens)
        self.eval().requires_grad_(False)

    def prepare(self, keypoints: Tensor, descriptors: Tensor, size: Tensor) -> Prepared:
        """Start an image: keypoints (N, 2) in pixels, descriptors (N, D), image size (2,) as width, height.

        Further columns of ``keypoints`` (size in pixels, angle in radians) go into the encoding as they are.
        """
        return self._prepare(keypoints, descriptors, size, _Pair([len(keypoints)]))

    def prepare_batch(self, keypoints: Tensor, descriptors: Tensor, sizes: Tensor, present: Tensor) -> Prepared:
        """Start images (B, P, ...) padded to P points, of which ``present`` (B, P) are none; sizes (B, 2).

        Every image must have a point.
        """
        return self._prepare(keypoints, descriptors, sizes[:, None], _Batch(present[:, None, None, :]))

    def _prepare(self, keypoints: Tensor, descriptors: Tensor, size: Tensor, images: Images) -> Prepared:
        places = (keypoints[..., :2] - size / 2) / (size.amax(-1, keepdim=True) / 2)
        encoding = rotary_encoding(self.angles(torch.cat((places, keypoints[..., 2:]), dim=-1)))
        state = self._layer(0).self_attention(self.input_proj(descriptors), encoding, images)
        return Prepared(state, encoding)

    def match_pair(self, a: Prepared, b: Prepared, adaptivity: Adaptivity) -> tuple[Tensor, Tensor]:
        """Mutual best pairs (K, 2) of rows in a and b, and their scores (K,)."""
        points = _Points.start(a, b)
        count = len(points.rows)
        for index in range(LAYERS):
            if index > 0:
                points.state = self._layer(index).self_attention(points.state, points.encoding, points.images)
            points.state = self._layer(index).cross_attention(points.state, points.images)
            if index == LAYERS - 1 or self._adapt(index, points, count, adaptivity):
                break
        return self._pairs(index, points)

    def match_batch(self, query: Prepared, references: Prepared, present: Tensor) -> tuple[Tensor, Tensor]:
        """For every query point its partner (B, P) in each reference or -1, and the score (B, P).

        ``query`` has states (P, 256), ``references`` (B, P, 256), both padded to P points; ``present`` (B + 1, P)
        marks points that are no padding, the query's first. Every image must have one.
        """
        batch = len(references.state)
        mask = torch.cat((present[:1].expand(batch, -1), present[1:]))
        images = _Batch(mask[:, None, None, :])
        state = torch.cat((query.state[None].expand_as(references.state), references.state)).float()
        encoding = torch.cat((query.encoding[None].expand_as(references.encoding), references.encoding))
        for index in range(LAYERS):
            if index > 0:
                state = self._layer(index).self_attention(state, encoding, images)
            state = self._layer(index).cross_attention(state, images)
        a, b = state.chunk(2)
        partner, scores = self._assignment(LAYERS - 1)(a, b, mask[:batch, :, None] & mask[batch:, None, :])
        return partner, scores

    def _adapt(self, index: int, points: _Points, count: int, adaptivity: Adaptivity) -> bool:
        """Whether matching can end after layer ``index``; drop unmatchable points if not."""
        if adaptivity.depth >= 1.0 and adaptivity.width >= 1.0:
            return False
        sure = confidence_threshold(index)
        confidence = self.token_confidence[index](points.state)[:, 0]
        if adaptivity.depth < 1.0 and 1.0 - int((confidence < sure).sum()) / count > adaptivity.depth:
            return True
        if adaptivity.width < 1.0:
            matchability = self._assignment(index).matchability(points.state)
            points.keep((matchability > 1.0 - adaptivity.width) | (confidence <= sure))
        return min(points.images.sizes) == 0

    def _pairs(self, index: int, points: _Points) -> tuple[Tensor, Tensor]:
        if min(points.images.sizes) == 0:
            return torch.empty((0, 2), dtype=torch.long), torch.empty(0)
        (a, b), (rows_a, rows_b) = points.images.split(points.state), points.images.split(points.rows)
        partner, scores = self._assignment(index)(a, b)
        found = (partner >= 0).nonzero()[:, 0]
        return torch.stack((rows_a[found], rows_b[partner[found]]), dim=1), scores[found]

    def _layer(self, index: int) -> Layer:
        return cast(Layer, self.layers[index])

    def _assignment(self, index: int) -> Assignment:
        return cast(Assignment, self.assignments[index])


def confidence_threshold(layer: int) -> float:
    """Token confidence above which a point counts as decided after a layer (equation 9 of the paper)."""
    return 0.8 + 0.1 * math.exp(-4.0 * layer / LAYERS)


class _Points:
    """The points of both images that are still in play, those of the first before those of the second."""

    def __init__(self, state: Tensor, encoding: Tensor, rows: Tensor, images: _Pair) -> None:
        self.state, self.encoding, self.rows, self.images = state, encoding, rows, images

    @staticmethod
    def start(a: Prepared, b: Prepared) -> _Points:
        sizes = [len(a.state), len(b.state)]
        rows = torch.cat([torch.arange(size, device=a.state.device) for size in sizes])
        state = torch.cat((a.state, b.state)).float()
        return _Points(state, torch.cat((a.encoding, b.encoding)), rows, _Pair(sizes))

    def keep(self, mask: Tensor) -> None:
        """Drop the points that are not in ``mask``, but none of an image with few."""
        enough = _MIN_POINTS_TO_PRUNE[mask.device.type]
        parts = [part if len(part) > enough else part.new_ones(len(part)) for part in self.images.split(mask)]
        kept = torch.cat(parts).nonzero()[:, 0]
        if len(kept) < len(mask):
            self.state, self.encoding, self.rows = self.state[kept], self.encoding[kept], self.rows[kept]
            self.images = _Pair([int(part.sum()) for part in parts])


class _Pair:
    """Images of different sizes one after the other along the points: two, or one alone before the first exchange."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = list(sizes)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.split(x, self.sizes)

    def within(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        parts = zip(self.split(queries), self.split(keys), self.split(values), strict=True)
        return torch.cat([attend(q[None], k[None], v[None])[0] for q, k, v in parts])

    def across(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        parts = zip(self.split(queries), self.split(keys)[::-1], self.split(values)[::-1], strict=True)
        return torch.cat([attend(q[None], k[None], v[None])[0] for q, k, v in parts])


class _Batch:
    """Images padded to one size along a batch: the first of all pairs, then the second of all pairs."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def within(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return attend(queries, keys, values, self.mask)

    def across(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys, values, mask = (torch.cat(x.chunk(2)[::-1]) for x in (keys, values, self.mask))
        return attend(queries, keys, values, mask)
