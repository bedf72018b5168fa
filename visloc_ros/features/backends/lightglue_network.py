"""LightGlue (Lindenberger et al., ICCV 2023) for inference on one pair, reading the published weights.

Depth and width adapt to the pair: matching ends at the first layer whose points are confident enough, and points
that are surely unmatchable are dropped on the way. What a layer computes for one image alone before the first
exchange (``prepare``) is done once per image and reused for every pair that the image is part of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_DIM = 256
_HEADS = 4
_LAYERS = 9
_MIN_POINTS_TO_PRUNE = {"cpu": 64, "cuda": 1536}


class Prepared(NamedTuple):
    """One image ready for matching: state (N, 256) after its first self-attention, rotary encoding (2, 1, N, 64)."""

    state: Tensor
    encoding: Tensor


class LightGlueNetwork(nn.Module):
    """Keypoints and descriptors of two images to mutual matches and their scores."""

    def __init__(self, descriptor_dim: int) -> None:
        super().__init__()
        self.input_proj = nn.Linear(descriptor_dim, _DIM)
        self.posenc = _RotaryEncoding(_DIM // _HEADS)
        self.transformers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        self.log_assignment = nn.ModuleList(_Assignment() for _ in range(_LAYERS))
        self.token_confidence = nn.ModuleList(_TokenConfidence() for _ in range(_LAYERS - 1))

    @property
    def _layers(self) -> Sequence[_Layer]:
        return cast(Sequence[_Layer], self.transformers)

    @property
    def _assignments(self) -> Sequence[_Assignment]:
        return cast(Sequence[_Assignment], self.log_assignment)

    def store_transformers_as(self, dtype: torch.dtype) -> None:
        """Keep the weights of the transformer's matrix products in ``dtype``, to be run under autocast."""
        for module in self.transformers.modules():
            if isinstance(module, nn.Linear):
                module.to(dtype)

    def prepare(self, keypoints: Tensor, descriptors: Tensor, size: Tensor) -> Prepared:
        """Start an image: keypoints (N, 2) in pixels, descriptors (N, D), image size (2,) as width, height."""
        encoding = self.posenc((keypoints - size / 2) / (size.max() / 2))
        state = self._layers[0].self_attn(self.input_proj(descriptors), encoding)
        return Prepared(state, encoding)

    def forward(self, a: Prepared, b: Prepared, depth: float, width: float, threshold: float) -> tuple[Tensor, Tensor]:
        """Pairs (K, 2) of rows in a and b, and scores (K,) above ``threshold``."""
        side_a, side_b = _Side.start(a), _Side.start(b)
        total = len(side_a.rows) + len(side_b.rows)
        for index, layer in enumerate(self._layers):
            if index > 0:
                side_a.state = layer.self_attn(side_a.state, side_a.encoding)
                side_b.state = layer.self_attn(side_b.state, side_b.encoding)
            side_a.state, side_b.state = layer.cross_attn(side_a.state, side_b.state)
            if index == _LAYERS - 1 or self._adapt(index, side_a, side_b, total, depth, width):
                break
        pairs, scores = self._assignments[index](side_a.state, side_b.state, threshold)
        return torch.stack((side_a.rows[pairs[:, 0]], side_b.rows[pairs[:, 1]]), dim=1), scores

    def _adapt(self, index: int, a: _Side, b: _Side, total: int, depth: float, width: float) -> bool:
        """Tell whether matching can end after layer ``index``; drop unmatchable points if not."""
        if depth >= 1.0 and width >= 1.0:
            return False
        sure = confidence_threshold(index)
        confidences = [self.token_confidence[index](side.state) for side in (a, b)]
        unsure = sum(int((confidence < sure).sum()) for confidence in confidences)
        if depth < 1.0 and 1.0 - unsure / total > depth:
            return True
        if width < 1.0:
            for side, confidence in zip((a, b), confidences, strict=True):
                if len(side.rows) > _MIN_POINTS_TO_PRUNE[side.state.device.type]:
                    matchability = self._assignments[index].matchability_of(side.state)
                    side.keep((matchability > 1.0 - width) | (confidence <= sure))
        return min(len(a.rows), len(b.rows)) == 0


def confidence_threshold(layer: int) -> float:
    """Token confidence above which a point counts as decided after a layer (equation 9 of the paper)."""
    return 0.8 + 0.1 * math.exp(-4.0 * layer / _LAYERS)


class _Side:
    """The points of one image that are still in play."""

    def __init__(self, state: Tensor, encoding: Tensor, rows: Tensor) -> None:
        self.state, self.encoding, self.rows = state, encoding, rows

    @staticmethod
    def start(prepared: Prepared) -> _Side:
        rows = torch.arange(len(prepared.state), device=prepared.state.device)
        return _Side(prepared.state, prepared.encoding, rows)

    def keep(self, mask: Tensor) -> None:
        kept = mask.nonzero()[:, 0]
        if len(kept) < len(mask):
            self.state, self.rows = self.state[kept], self.rows[kept]
            self.encoding = self.encoding[:, :, kept]


class _RotaryEncoding(nn.Module):
    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.Wr = nn.Linear(2, head_dim // 2, bias=False)

    def forward(self, positions: Tensor) -> Tensor:
        with torch.autocast(positions.device.type, enabled=False):  # half precision would move points by pixels
            angles = self.Wr(positions).repeat_interleave(2, dim=-1)
        encoding: Tensor = torch.stack((angles.cos(), angles.sin()))[:, None]
        return encoding


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = _SelfAttention()
        self.cross_attn = _CrossAttention()


class _FeedForward(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(2 * _DIM, 2 * _DIM), nn.LayerNorm(2 * _DIM), nn.GELU(), nn.Linear(2 * _DIM, _DIM))


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.Wqkv = nn.Linear(_DIM, 3 * _DIM)
        self.out_proj = nn.Linear(_DIM, _DIM)
        self.ffn = _FeedForward()

    def forward(self, state: Tensor, encoding: Tensor) -> Tensor:
        queries, keys, values = self.Wqkv(state).view(len(state), _HEADS, -1, 3).permute(3, 1, 0, 2)
        context = _attend(_rotate(queries, encoding), _rotate(keys, encoding), values)
        update: Tensor = self.ffn(torch.cat((state, self.out_proj(context)), dim=-1))
        return state + update


class _CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_qk = nn.Linear(_DIM, _DIM)
        self.to_v = nn.Linear(_DIM, _DIM)
        self.to_out = nn.Linear(_DIM, _DIM)
        self.ffn = _FeedForward()

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        keys_a, keys_b = _split_heads(self.to_qk(a)), _split_heads(self.to_qk(b))
        message_a = self.to_out(_attend(keys_a, keys_b, _split_heads(self.to_v(b))))
        message_b = self.to_out(_attend(keys_b, keys_a, _split_heads(self.to_v(a))))
        return a + self.ffn(torch.cat((a, message_a), dim=-1)), b + self.ffn(torch.cat((b, message_b), dim=-1))


class _Assignment(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matchability = nn.Linear(_DIM, 1)
        self.final_proj = nn.Linear(_DIM, _DIM)

    def matchability_of(self, state: Tensor) -> Tensor:
        return torch.sigmoid(self.matchability(state))[:, 0]

    def forward(self, a: Tensor, b: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        """Mutual best pairs (K, 2) of the double softmax weighted by matchability, with scores (K,)."""
        if len(a) == 0 or len(b) == 0:
            return torch.empty((0, 2), dtype=torch.long, device=a.device), a.new_empty(0)
        with torch.autocast(a.device.type, enabled=False):  # ties between scores would cost matches
            similarity = self.final_proj(a.float()) @ self.final_proj(b.float()).T / math.sqrt(_DIM)
        scores = F.log_softmax(similarity, dim=1) + F.log_softmax(similarity, dim=0)
        scores += F.logsigmoid(self.matchability(a)) + F.logsigmoid(self.matchability(b)).T
        best, column = scores.max(dim=1)
        rows = torch.arange(len(a), device=a.device)
        mutual = scores.argmax(dim=0)[column] == rows
        keep = mutual & (best.exp() > threshold)
        return torch.stack((rows[keep], column[keep]), dim=1), best[keep].exp()


class _TokenConfidence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Sequential(nn.Linear(_DIM, 1), nn.Sigmoid())

    def forward(self, state: Tensor) -> Tensor:
        confidence: Tensor = self.token(state)[:, 0]
        return confidence


def _split_heads(x: Tensor) -> Tensor:
    """(N, 256) to (heads, N, 64)."""
    return x.view(len(x), _HEADS, -1).transpose(0, 1)


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention of (heads, N, 64) over (heads, M, 64), heads joined: (N, 256)."""
    context = F.scaled_dot_product_attention(queries[None], keys[None], values[None])[0]
    return context.transpose(0, 1).reshape(queries.shape[1], -1)


def _rotate(x: Tensor, encoding: Tensor) -> Tensor:
    """Turn each pair of channels by the angle of its point's position."""
    even, odd = x.view(*x.shape[:-1], -1, 2).unbind(dim=-1)
    turned = torch.stack((-odd, even), dim=-1).flatten(start_dim=-2)
    return x * encoding[0] + turned * encoding[1]
