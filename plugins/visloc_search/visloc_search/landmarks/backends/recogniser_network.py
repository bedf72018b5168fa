"""The network that recognises the landmark of every keypoint (PRAM, Xue et al. 2024).

A transformer over the keypoints of an image: where a keypoint's own appearance does not identify its landmark, its
surroundings do. Positions enter only as rotary encoding (Su et al. 2021) with learned frequencies, so that a shift of
all keypoints changes nothing. Layers are normalised before attention (Xiong et al. 2020), which trains without long
warm-up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HEAD_EXPANSION = 2


@dataclass(frozen=True)
class NetworkShape:
    """Widths of a network, which determine the shapes of its weights.

    ``prototypes`` per landmark, 0 for none.
    """

    in_dim: int
    num_classes: int
    dim: int
    heads: int
    head_dim: int
    layers: int
    prototypes: int = 0

    @property
    def least_weights(self) -> int:
        """Number of weights in the terms that grow with a product of widths; there are some more."""
        inner = self.heads * self.head_dim
        ends = self.in_dim + _HEAD_EXPANSION * (self.dim + self.num_classes)
        of_prototypes = (self.num_classes - 1) * self.prototypes * self.in_dim
        return self.dim * (ends + self.layers * (5 * inner + 4 * self.dim)) + of_prototypes


_WIDTHS = {"nano": (64, 2, 32, 3), "tiny": (128, 2, 64, 4), "small": (192, 6, 32, 6), "full": (256, 4, 64, 15)}


def network_shape(size: str, in_dim: int, num_classes: int, prototypes: int = 0) -> NetworkShape:
    """The shape of a named size for descriptors of length ``in_dim``."""
    dim, heads, head_dim, layers = _WIDTHS[size]
    return NetworkShape(in_dim, num_classes, dim, heads, head_dim, layers, prototypes)


class RecogniserNetwork(nn.Module):
    """Logits of the landmark classes, 0 for background, of every token."""

    prototypes: Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        landmarks = shape.num_classes - 1
        if shape.prototypes:
            self.register_buffer("prototypes", torch.zeros(landmarks, shape.prototypes, shape.in_dim))
        self.input = nn.Linear(shape.in_dim + (landmarks if shape.prototypes else 0), shape.dim)
        self.input_norm = nn.LayerNorm(shape.dim)
        self.frequencies = nn.Linear(2, shape.head_dim // 2, bias=False)
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))
        self.head = nn.Sequential(
            nn.LayerNorm(shape.dim),
            nn.Linear(shape.dim, _HEAD_EXPANSION * shape.dim),
            nn.GELU(),
            nn.Linear(_HEAD_EXPANSION * shape.dim, shape.num_classes),
        )
        nn.init.normal_(self.frequencies.weight)

    def forward(self, descriptors: Tensor, positions: Tensor, valid: Tensor | None = None) -> Tensor:
        """Logits (B, N, C) of unit descriptors (B, N, D) at normalised positions (B, N, 2).

        Attention ignores tokens that are not ``valid`` (B, N); their own logits mean nothing.
        """
        tokens = self.input_norm(self.input(self._input(descriptors)))
        angles = self.frequencies(positions.to(self.frequencies.weight.dtype))[:, None]
        rotation = angles.cos(), angles.sin()
        mask = None if valid is None else valid[:, None, None, :]
        for layer in self.layers:
            tokens = layer(tokens, rotation, mask)
        logits: Tensor = self.head(tokens)
        return logits

    def _input(self, descriptors: Tensor) -> Tensor:
        """Descriptors, with their largest similarity to the prototypes of each landmark, in components of size one.

        The components of a unit vector are so small that the network would long learn nothing from them.
        """
        if self.shape.prototypes:
            similarity = descriptors @ self.prototypes.flatten(0, 1).T
            best = similarity.reshape(*similarity.shape[:-1], *self.prototypes.shape[:2]).amax(-1)
            descriptors = torch.cat((descriptors, best), -1)
        return descriptors * math.sqrt(self.shape.in_dim)


class _Layer(nn.Module):
    """Attention, then the update of each token by its message.

    Heads have no joint projection: the next linear map would absorb it as a product of two matrices.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.heads = shape.heads
        inner = shape.heads * shape.head_dim
        self.norm = nn.LayerNorm(shape.dim)
        self.qkv = nn.Linear(shape.dim, 3 * inner)
        self.update = nn.Sequential(
            nn.Linear(shape.dim + inner, 2 * shape.dim), nn.GELU(), nn.Linear(2 * shape.dim, shape.dim)
        )

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        normed = self.norm(tokens)
        query, key, value = self.qkv(normed).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        message = F.scaled_dot_product_attention(
            _rotate(query, rotation), _rotate(key, rotation), value, attn_mask=mask
        )
        joined = torch.cat((normed, message.transpose(1, 2).flatten(2)), -1)
        updated: Tensor = tokens + self.update(joined)
        return updated


def _rotate(vectors: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn pairs of components, of the first and the second half, of vectors (B, H, N, head_dim) by their angles."""
    cosine, sine = (one.to(vectors.dtype) for one in rotation)
    first, second = vectors.chunk(2, -1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), -1)
