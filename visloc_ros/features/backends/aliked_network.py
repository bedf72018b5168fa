"""ALIKED (Zhao et al., IEEE TIM 2023) for inference, reading the published weights.

Two differences from the training-time formulation make it several times cheaper on a CPU, with the same result:
the dense 128-channel feature map is never built. A 1x1 convolution commutes with upsampling, so the score head's
first layer runs on each pyramid level before that level is enlarged; and descriptors interpolate the pyramid only
where a keypoint samples it.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

STRIDE = 32
BORDER = 2
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805
_SOFT_ARGMAX_RADIUS = 2
_SOFT_ARGMAX_TEMPERATURE = 0.1


class Sizes(NamedTuple):
    """Channels of the four encoder blocks, descriptor length, samples per descriptor."""

    channels: tuple[int, int, int, int]
    dim: int
    samples: int


SIZES = {
    "aliked-n16": Sizes((16, 32, 64, 128), 128, 16),
    "aliked-n16rot": Sizes((16, 32, 64, 128), 128, 16),
    "aliked-n32": Sizes((16, 32, 64, 128), 128, 32),
}


class AlikedNetwork(nn.Module):
    """Image (1, 3, H, W) in [0, 1] to keypoints (N, 2) in pixels from the first pixel's centre, scores, descriptors."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        c1, c2, c3, c4 = sizes.channels
        self.block1 = _Block(3, c1)
        self.block2 = _ResidualBlock(c1, c2, deformable=False)
        self.block3 = _ResidualBlock(c2, c3, deformable=True)
        self.block4 = _ResidualBlock(c3, c4, deformable=True)
        level_dim = sizes.dim // 4
        self.conv1 = nn.Conv2d(c1, level_dim, 1, bias=False)
        self.conv2 = nn.Conv2d(c2, level_dim, 1, bias=False)
        self.conv3 = nn.Conv2d(c3, level_dim, 1, bias=False)
        self.conv4 = nn.Conv2d(c4, level_dim, 1, bias=False)
        self.score_head = nn.Sequential(
            nn.Conv2d(sizes.dim, 8, 1, bias=False),
            _Selu(),
            nn.Conv2d(8, 4, 3, padding=1, bias=False),
            _Selu(),
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            _Selu(),
            nn.Conv2d(4, 1, 3, padding=1, bias=False),
        )
        self.desc_head = _DescriptorHead(sizes.dim, sizes.samples)

    def forward(self, image: Tensor, max_keypoints: int, threshold: float, radius: int) -> tuple[Tensor, ...]:
        """Detect at most ``max_keypoints`` above ``threshold``, ``radius`` pixels apart, and describe them."""
        padded, left, top = _pad(image)
        levels = self._pyramid(padded)
        height, width = image.shape[-2:]
        scores = self._score_map(levels)[top : top + height, left : left + width]
        pixels, strengths = detect(scores, max_keypoints, threshold, radius)
        pyramid = _Pyramid(levels, (left, top), (width, height), padded.shape[-2:])
        return pixels, strengths, self.desc_head(pyramid, pixels)

    def _pyramid(self, image: Tensor) -> list[Tensor]:
        x1 = self.block1(image)
        x2 = self.block2(_halve(x1))
        x3 = self.block3(_halve(_halve(x2)))
        x4 = self.block4(_halve(_halve(x3)))
        projections = (self.conv1, self.conv2, self.conv3, self.conv4)
        return [selu(conv(x)) for conv, x in zip(projections, (x1, x2, x3, x4), strict=True)]

    def _score_map(self, levels: list[Tensor]) -> Tensor:
        """Keypoint score (H, W) in [0, 1] of every pixel of the padded image."""
        size = levels[0].shape[-2:]
        weights = self.score_head[0].get_parameter("weight").chunk(len(levels), dim=1)
        hidden = F.conv2d(levels[0], weights[0])
        for level, weight in zip(levels[1:], weights[1:], strict=True):
            hidden += F.interpolate(F.conv2d(level, weight), size, mode="bilinear", align_corners=True)
        return torch.sigmoid(self.score_head[1:](hidden))[0, 0]


def selu(x: Tensor) -> Tensor:
    """Scaled exponential linear unit, in place; on a CPU a fifth of the time of torch's, which is not vectorised."""
    negative = x.clamp(max=0.0).exp_().sub_(1.0)
    return x.clamp_(min=0.0).add_(negative, alpha=_SELU_ALPHA).mul_(_SELU_SCALE)


class _Selu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return selu(x)


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = selu(self.bn1(self.conv1(x)))
        return selu(self.bn2(self.conv2(x)))


class _ResidualBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, deformable: bool) -> None:
        super().__init__()
        if deformable:
            self.conv1: nn.Module = _DeformableConv(channels_in, channels_out)
            self.conv2: nn.Module = _DeformableConv(channels_out, channels_out)
        else:
            self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
            self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = selu(self.bn1(self.conv1(x)))
        hidden = self.bn2(self.conv2(hidden))
        hidden += self.downsample(x)
        return selu(hidden)


class _DeformableConv(nn.Module):
    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(channels_in, 2 * 3 * 3, 3, padding=1)
        self.regular_conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        limit = max(x.shape[-2:]) / 4.0
        offset = self.offset_conv(x).clamp(-limit, limit)
        output: Tensor = deform_conv2d(x, offset, self.regular_conv.weight, padding=(1, 1))
        return output


class _DescriptorHead(nn.Module):
    """Sparse deformable descriptor head: every keypoint chooses where around it the features are sampled."""

    def __init__(self, dim: int, samples: int) -> None:
        super().__init__()
        self.samples = samples
        self.offset_conv = nn.Sequential(
            nn.Conv2d(dim, 2 * samples, 3), _Selu(), nn.Conv2d(2 * samples, 2 * samples, 1)
        )
        self.sf_conv = nn.Conv2d(dim, dim, 1, bias=False)
        self.agg_weights = nn.Parameter(torch.empty(samples, dim, dim))

    def forward(self, pyramid: _Pyramid, pixels: Tensor) -> Tensor:
        """Unit descriptors (N, D) of keypoints (N, 2)."""
        offsets = self._offsets(pyramid, pixels)
        sampled = pyramid.interpolate((pixels[:, None, :] + offsets).reshape(-1, 2))
        features = selu(sampled @ self.sf_conv.weight[:, :, 0, 0].T)
        flat = features.view(len(pixels), self.samples * features.shape[1]) @ self.agg_weights.flatten(0, 1)
        return F.normalize(flat, dim=1)

    def _offsets(self, pyramid: _Pyramid, pixels: Tensor) -> Tensor:
        """Sampling offsets (N, samples, 2) in pixels from the 3x3 neighbourhood of each keypoint."""
        patches = pyramid.patches(pixels.long())
        limit = max(pyramid.size) / 4.0
        offsets: Tensor = self.offset_conv(patches).clamp(-limit, limit)
        return offsets.view(len(pixels), 2, self.samples).transpose(1, 2)


class _Pyramid:
    """Feature levels that are enlarged to image size, joined and normalised only at the pixels asked for."""

    def __init__(
        self, levels: list[Tensor], offset: tuple[int, int], size: tuple[int, int], padded_hw: torch.Size
    ) -> None:
        self.levels = levels
        self.size = size
        device = levels[0].device
        self._last = torch.tensor([size[0] - 1, size[1] - 1], device=device)
        self._offset = torch.tensor(offset, device=device, dtype=torch.float32)
        self._span = torch.tensor([padded_hw[1] - 1, padded_hw[0] - 1], device=device, dtype=torch.float32)

    def at(self, pixels: Tensor) -> Tensor:
        """Unit features (M, D) at whole pixels (M, 2), which must lie inside the image."""
        grid = ((pixels + self._offset) / self._span * 2.0 - 1.0).view(1, 1, -1, 2)
        sampled = [F.grid_sample(level, grid, align_corners=True)[0, :, 0] for level in self.levels]
        return F.normalize(torch.cat(sampled).T, dim=1)

    def patches(self, pixels: Tensor) -> Tensor:
        """Features (N, D, 3, 3) around whole pixels (N, 2), shifted inwards at the image border."""
        corner = torch.minimum((pixels - 1).clamp(min=0), self._last - 3)
        steps = torch.arange(3, device=pixels.device)
        grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).view(1, 9, 2)
        features = self.at((corner[:, None, :] + grid).view(-1, 2))
        return features.view(len(pixels), 3, 3, features.shape[1]).permute(0, 3, 1, 2)

    def interpolate(self, positions: Tensor) -> Tensor:
        """Features (M, D) at sub-pixel positions (M, 2), bilinear between whole pixels, zero outside the image."""
        base = positions.floor()
        fraction = positions - base
        result = positions.new_zeros(())
        for step_x, step_y in ((0, 0), (1, 0), (0, 1), (1, 1)):
            corner = base + base.new_tensor([step_x, step_y])
            weight_x = fraction[:, 0] if step_x else 1.0 - fraction[:, 0]
            weight_y = fraction[:, 1] if step_y else 1.0 - fraction[:, 1]
            inside = ((corner >= 0) & (corner <= self._last)).all(dim=1)
            weight = weight_x * weight_y * inside
            result = result + self.at(torch.minimum(corner.clamp(min=0), self._last)) * weight[:, None]
        return result


def detect(scores: Tensor, max_keypoints: int, threshold: float, radius: int) -> tuple[Tensor, Tensor]:
    """Keypoints (N, 2) at sub-pixel positions x, y and their scores (N,), strongest first, of a score map (H, W)."""
    width = scores.shape[1]
    peaks = _suppress(scores, radius)
    margin = max(radius, BORDER)
    inner = peaks[margin:-margin, margin:-margin]
    rows, columns = torch.where(inner > threshold)
    order = inner[rows, columns].argsort(descending=True, stable=True)[:max_keypoints]
    rows, columns = rows[order] + margin, columns[order] + margin
    pixels = torch.stack((columns, rows), dim=1) + _soft_argmax(scores, rows * width + columns)
    return pixels, scores[rows, columns]


def _suppress(scores: Tensor, radius: int) -> Tensor:
    """Zero whatever is not the largest score within ``radius``; two more rounds find peaks beside suppressed ones."""
    is_peak = scores == _window_max(scores, radius)
    for _ in range(2):
        covered = _window_max(is_peak.float(), radius) > 0
        remaining = scores.masked_fill(covered, 0.0)
        is_peak = is_peak | ((remaining == _window_max(remaining, radius)) & ~covered)
    return scores.masked_fill(~is_peak, 0.0)


def _window_max(values: Tensor, radius: int) -> Tensor:
    """Largest value within ``radius`` rows and columns of every pixel; OpenCV is 20 times faster on a CPU."""
    size = 2 * radius + 1
    if values.device.type == "cpu":
        return torch.from_numpy(cv2.dilate(values.numpy(), np.ones((size, size), np.uint8)))
    rows = F.max_pool2d(values[None, None], (1, size), stride=1, padding=(0, radius))
    return F.max_pool2d(rows, (size, 1), stride=1, padding=(radius, 0))[0, 0]


def _soft_argmax(scores: Tensor, flat_index: Tensor) -> Tensor:
    """Sub-pixel shift (N, 2) in x, y: expectation over the softmax of the 5x5 scores around each peak."""
    steps = torch.arange(-_SOFT_ARGMAX_RADIUS, _SOFT_ARGMAX_RADIUS + 1, device=scores.device)
    shift_y, shift_x = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    neighbours = flat_index[:, None] + shift_y * scores.shape[1] + shift_x
    weights = torch.softmax(scores.flatten()[neighbours] / _SOFT_ARGMAX_TEMPERATURE, dim=1)
    return weights @ torch.stack((shift_x, shift_y), dim=1).to(scores)


def _halve(x: Tensor) -> Tensor:
    """Mean of every 2x2 block; as a resize, which is several times faster on a CPU than pooling."""
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)


def _pad(image: Tensor) -> tuple[Tensor, int, int]:
    """Repeat the border until both sides are multiples of the network's stride; gives the left and top padding."""
    height, width = image.shape[-2:]
    extra_x, extra_y = -width % STRIDE, -height % STRIDE
    left, top = extra_x // 2, extra_y // 2
    if not (extra_x or extra_y):
        return image, 0, 0
    return F.pad(image, (left, extra_x - left, top, extra_y - top), mode="replicate"), left, top
