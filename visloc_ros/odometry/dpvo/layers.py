"""Linear layers and norms whose number types are explicit, so that half precision needs no autocast."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visloc_ros.odometry.dpvo.sizes import HIDDEN_SIZE

_NORM_EPS = 1e-3


class Linear(nn.Linear):
    """A matrix product in the number type of the weights, whatever that of the input is."""

    def forward(self, x: Tensor) -> Tensor:
        """Values (..., out) of inputs (..., in)."""
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


class LayerNorm(nn.LayerNorm):
    """Normalisation over the hidden state, always in float32."""

    def __init__(self) -> None:
        super().__init__(HIDDEN_SIZE, eps=_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Values of the same shape (..., 384)."""
        return F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps)


class GatedResidual(nn.Module):
    """x + sigmoid(gate(x)) * res(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(Linear(HIDDEN_SIZE, HIDDEN_SIZE), nn.Sigmoid())
        self.res = two_layers()

    def forward(self, x: Tensor) -> Tensor:
        """Values of the same shape (..., 384)."""
        changed: Tensor = x + self.gate(x) * self.res(x)
        return changed


def two_layers() -> nn.Sequential:
    """Linear, ReLU, Linear."""
    return nn.Sequential(Linear(HIDDEN_SIZE, HIDDEN_SIZE), nn.ReLU(), Linear(HIDDEN_SIZE, HIDDEN_SIZE))


def set_product_type(module: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights of products (linear, convolution) in ``dtype``; norms stay as they are."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            part.to(dtype)
