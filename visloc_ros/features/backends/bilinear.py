"""Bilinear sampling of a feature map whose positions are rows of memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def rows_of(features: Tensor) -> Tensor:
    """Rows (B*H*W, C) of maps (B, C, H, W) that lie channels last."""
    return features.permute(0, 2, 3, 1).flatten(0, 2)


def sample(features: Tensor, positions: Tensor, images: Tensor) -> Tensor:
    """Features (M, C) of maps (B, C, H, W) at positions (M, 2) as x, y in pixels of a map; zero outside of it.

    ``images`` (M,) is the row of the map that each position is in. One weighted sum of four rows for every
    position: on a CPU many times faster than ``grid_sample``, which reads channel by channel.
    """
    height, width = features.shape[-2:]
    base = positions.floor()
    fraction_x, fraction_y = (positions - base).unbind(dim=1)
    base, first_rows = base.int(), (images * (height * width)).int()
    index, weight = [], []
    for step_x, step_y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = base[:, 0] + step_x, base[:, 1] + step_y
        nearest_x, nearest_y = x.clamp(0, width - 1), y.clamp(0, height - 1)
        inside = (x == nearest_x) & (y == nearest_y)
        weight.append(_share(fraction_x, step_x) * _share(fraction_y, step_y) * inside)
        index.append(first_rows + nearest_y * width + nearest_x)
    rows, weights = torch.stack(index, dim=1), torch.stack(weight, dim=1).to(features.dtype)
    return F.embedding_bag(rows, rows_of(features), per_sample_weights=weights, mode="sum")


def _share(fraction: Tensor, step: int) -> Tensor:
    return fraction if step else 1.0 - fraction
