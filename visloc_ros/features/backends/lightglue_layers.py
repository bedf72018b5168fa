"""The weights of LightGlue as they are published, and its layers, arranged from them for speed with the same result.

Queries, keys and values are whole blocks of channels instead of interleaved ones, the two channels that a rotary
encoding turns together lie in two halves, and the scale of the scores is in the weights. The projection of
attention's output and the first layer after it are two matrices in a row, here multiplied into one. Number types are
explicit: matrix products in ``dtype``, the state they add to in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DIM = 256
HEADS = 4
LAYERS = 9


class PublishedLightGlue(nn.Module):
    """Parameters of LightGlue for descriptors and positions of the given lengths; ``LightGlueNetwork`` computes."""

    def __init__(self, descriptor_dim: int, position_dim: int = 2) -> None:
        super().__init__()
        self.input_proj = nn.Linear(descriptor_dim, DIM) if descriptor_dim != DIM else nn.Identity()
        self.posenc = _Encoding(position_dim)
        self.transformers = nn.ModuleList(PublishedLayer() for _ in range(LAYERS))
        self.log_assignment = nn.ModuleList(PublishedAssignment() for _ in range(LAYERS))
        self.token_confidence = nn.ModuleList(_Token() for _ in range(LAYERS - 1))

    @property
    def layers(self) -> Sequence[PublishedLayer]:
        """The transformer's layers."""
        return cast(Sequence[PublishedLayer], self.transformers)

    @property
    def assignments(self) -> Sequence[PublishedAssignment]:
        """A matching head for every layer."""
        return cast(Sequence[PublishedAssignment], self.log_assignment)

    @property
    def tokens(self) -> list[nn.Sequential]:
        """After every layer but the last, the head that estimates the confidence of a point."""
        return [cast(_Token, head).token for head in self.token_confidence]


class PublishedLayer(nn.Module):
    """Attention within an image, then between the two."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = PublishedSelfAttention()
        self.cross_attn = PublishedCrossAttention()


class PublishedSelfAttention(nn.Module):
    """Rows of ``Wqkv`` run over head, channel, and query, key, value as the fastest."""

    def __init__(self) -> None:
        super().__init__()
        self.Wqkv = nn.Linear(DIM, 3 * DIM)
        self.out_proj = nn.Linear(DIM, DIM)
        self.ffn = _feed_forward()


class PublishedCrossAttention(nn.Module):
    """``to_qk`` serves both as query and as key."""

    def __init__(self) -> None:
        super().__init__()
        self.to_qk = nn.Linear(DIM, DIM)
        self.to_v = nn.Linear(DIM, DIM)
        self.to_out = nn.Linear(DIM, DIM)
        self.ffn = _feed_forward()


class PublishedAssignment(nn.Module):
    """Matching head after one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.matchability = nn.Linear(DIM, 1)
        self.final_proj = nn.Linear(DIM, DIM)


class _Encoding(nn.Module):
    def __init__(self, position_dim: int) -> None:
        super().__init__()
        self.Wr = nn.Linear(position_dim, DIM // HEADS // 2, bias=False)


class _Token(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Sequential(nn.Linear(DIM, 1), nn.Sigmoid())


def _feed_forward() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2 * DIM, 2 * DIM), nn.LayerNorm(2 * DIM), nn.GELU(), nn.Linear(2 * DIM, DIM))


_HEAD_DIM = DIM // HEADS
_SCALE = 1.0 / math.sqrt(_HEAD_DIM)
_IMPOSSIBLE = -1e4  # similarity of padding: its exponential is exactly zero


class Images(Protocol):
    """The assignment of points to images, which determines what may attend to what."""

    def within(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Each point's attention over the points of the same image, (..., N, 256)."""
        ...

    def across(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Each point's attention over the points of the other image, (..., N, 256)."""
        ...


class Layer(nn.Module):
    """One layer of the transformer on states (..., N, 256)."""

    def __init__(self, published: PublishedLayer, dtype: torch.dtype) -> None:
        super().__init__()
        self.self_attention = SelfAttention(published.self_attn, dtype)
        self.cross_attention = CrossAttention(published.cross_attn, dtype)


class SelfAttention(nn.Module):
    """Attention of points over their own image, aware of where they are."""

    def __init__(self, published: PublishedSelfAttention, dtype: torch.dtype) -> None:
        super().__init__()
        order = _block_order()
        weight, bias = published.Wqkv.weight[order].clone(), published.Wqkv.bias[order].clone()
        weight[:DIM] *= _SCALE
        bias[:DIM] *= _SCALE
        self.project = _linear(weight, bias, dtype)
        self.update = _Update(published.out_proj, published.ffn, dtype)

    def forward(self, state: Tensor, encoding: Tensor, images: Images) -> Tensor:
        """New state; ``encoding`` (..., N, 64) of ``rotary_encoding``."""
        inputs = state.to(self.project.weight.dtype)
        projected = self.project(inputs)
        queries, keys = _rotate(projected[..., : 2 * DIM], encoding).chunk(2, dim=-1)
        found = images.within(queries, keys, projected[..., 2 * DIM :])
        return cast(Tensor, self.update(state, inputs, found))


class CrossAttention(nn.Module):
    """Attention of points over the other image."""

    def __init__(self, published: PublishedCrossAttention, dtype: torch.dtype) -> None:
        super().__init__()
        weight = torch.cat((published.to_qk.weight, published.to_v.weight))
        self.project = _linear(weight, torch.cat((published.to_qk.bias, published.to_v.bias)), dtype)
        self.update = _Update(published.to_out, published.ffn, dtype)

    def forward(self, state: Tensor, images: Images) -> Tensor:
        """New state of both images."""
        inputs = state.to(self.project.weight.dtype)
        keys, values = self.project(inputs).chunk(2, dim=-1)
        found = images.across(keys * _SCALE, keys, values)
        return cast(Tensor, self.update(state, inputs, found))


class _Update(nn.Module):
    """The update of the state, by the state and by attention's output."""

    def __init__(self, out: nn.Linear, feed_forward: nn.Sequential, dtype: torch.dtype) -> None:
        super().__init__()
        first, norm, _, last = cast(tuple[nn.Linear, nn.LayerNorm, nn.GELU, nn.Linear], tuple(feed_forward))
        of_state, of_found = first.weight[:, :DIM], first.weight[:, DIM:]
        weight = torch.cat((of_state, of_found @ out.weight), dim=1)
        self.first = _linear(weight, first.bias + of_found @ out.bias, dtype)
        self.norm = norm.to(dtype)
        self.last = last.to(dtype)

    def forward(self, state: Tensor, inputs: Tensor, found: Tensor) -> Tensor:
        hidden = self.norm(self.first(torch.cat((inputs, found), dim=-1)))
        updated: Tensor = state + self.last(F.gelu(hidden))
        return updated


class Assignment(nn.Module):
    """Matching head: assigns partners."""

    def __init__(self, published: PublishedAssignment) -> None:
        super().__init__()
        self.head = published

    def matchability(self, state: Tensor) -> Tensor:
        """Probability (..., N) that a point has a partner at all."""
        return torch.sigmoid(self.head.matchability(state))[..., 0]

    def forward(self, a: Tensor, b: Tensor, possible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """For every point of a its mutual best point of b (..., N) or -1, and the score (..., N) of its best.

        ``possible`` (..., N, M) is false at padding.
        """
        scores = self._log_scores(a, b, possible)
        best, partner = scores.max(dim=-1)
        back = scores.argmax(dim=-2).gather(-1, partner)
        mutual = back == torch.arange(a.shape[-2], device=a.device)
        return torch.where(mutual, partner, -1), best.exp()

    def _log_scores(self, a: Tensor, b: Tensor, possible: Tensor | None) -> Tensor:
        """Double softmax of similarity, weighted by matchability."""
        similarity = self.head.final_proj(a) @ self.head.final_proj(b).mT / math.sqrt(DIM)
        if possible is not None:
            similarity = similarity.masked_fill(~possible, _IMPOSSIBLE)
        scores = F.log_softmax(similarity, dim=-1) + F.log_softmax(similarity, dim=-2)
        scores += F.logsigmoid(self.head.matchability(a)) + F.logsigmoid(self.head.matchability(b)).mT
        return scores


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of (B, N, 256) over (B, M, 256) in heads; ``mask`` (B, 1, 1, M) is false at ignored points."""
    q, k, v = (x.view(*x.shape[:2], HEADS, _HEAD_DIM).transpose(1, 2) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0).transpose(1, 2).flatten(2)


def rotary_encoding(angles: Tensor) -> Tensor:
    """Encoding (..., N, 64) of the angles (..., N, 32) that channel pairs are turned by: cosines, then sines."""
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def _rotate(x: Tensor, encoding: Tensor) -> Tensor:
    """Turn the two halves of every head of (..., N, C) as pairs; in float32, for they are positions."""
    first, second = x.float().view(*x.shape[:-1], -1, 2, _HEAD_DIM // 2).unbind(dim=-2)
    cosine, sine = encoding.float()[..., None, :].chunk(2, dim=-1)
    turned = torch.stack((first * cosine - second * sine, second * cosine + first * sine), dim=-2)
    return turned.flatten(-3).to(x.dtype)


def _block_order() -> Tensor:
    """Rows of the published ``Wqkv``: queries and keys by head, half of the pair, pair; values by head, channel."""
    rows = torch.arange(3 * DIM).view(HEADS, _HEAD_DIM // 2, 2, 3)
    return torch.cat((rows[..., :2].permute(3, 0, 2, 1).flatten(), rows[..., 2].flatten()))


def _linear(weight: Tensor, bias: Tensor, dtype: torch.dtype) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    layer.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return layer
