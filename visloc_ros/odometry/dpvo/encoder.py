"""The convolutional encoder: an image to features on a grid of a quarter of its size (Teed et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[Tensor], Tensor]


class Encoder(nn.Module):
    """One image (3, H, W) to features (dim, H/4, W/4), channels last in memory as the convolutions like it best."""

    def __init__(self, dim: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 7, stride=2, padding=3)
        self.layer1 = nn.Sequential(ResidualBlock(32, 32, 1, norm), ResidualBlock(32, 32, 1, norm))
        self.layer2 = nn.Sequential(ResidualBlock(32, 64, 2, norm), ResidualBlock(64, 64, 1, norm))
        self.conv2 = nn.Conv2d(64, dim, 1)
        self._norm = norm

    def forward(self, image: Tensor) -> Tensor:
        """Encode in the number type of the weights."""
        batch = image[None].to(self.conv1.weight.dtype).contiguous(memory_format=torch.channels_last)
        x = F.relu(self._norm(self.conv1(batch)), inplace=True)
        features: Tensor = self.conv2(self.layer2(self.layer1(x)))
        return features[0]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; unlike the usual block, the branch too ends in a ReLU before the sum."""

    def __init__(self, channels_in: int, channels: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride=stride)) if stride != 1 else None
        self._norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Features (1, channels, H/stride, W/stride)."""
        y = F.relu(self._norm(self.conv1(x)), inplace=True)
        y = F.relu(self._norm(self.conv2(y)), inplace=True)
        if self.downsample is not None:
            x = self._norm(self.downsample(x))
        return F.relu(y.add_(x), inplace=True)


def instance_norm(x: Tensor) -> Tensor:
    """Zero mean and unit variance of every channel of one image; its batch norm is that, and is faster."""
    return F.batch_norm(x, None, None, training=True, eps=1e-5)


def no_norm(x: Tensor) -> Tensor:
    """The values as they are."""
    return x
