"""ALIKED (Zhao et al., IEEE TIM 2023) for inference, reading the published weights.

The result is that of the training-time formulation, at a fraction of its time on a CPU:

- The dense 128-channel feature map is never built. A 1x1 convolution commutes with upsampling, so the score head's
  first layer runs on each pyramid level before that level is enlarged; and descriptors interpolate the pyramid only
  where a keypoint samples it.
- Maps lie channels last: that is how convolutions with few channels are fast, and a position is one row of memory,
  so that deformable convolution is a weighted sum of rows and a matrix product.
- The full resolution is processed in strips of rows, so that intermediate results stay in the cache.
- ``fold_normalization`` makes batch normalisation part of the convolution before it.
- ``.to(torch.bfloat16)`` halves the time of convolutions on processors that multiply such numbers. Positions and the
  sums behind the scores stay in single precision: keypoints move by 0.02 px.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visloc_ros.features.backends.aliked_descriptors import DescriptorHead, Pyramid, Selu, sample, selu_

STRIDE = 32
_HALO = 2  # rows beside a strip that its result depends on: one for each 3x3 convolution
_STRIP_ROWS = {"cpu": 32}


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
    """Images (B, 3, H, W) in [0, 1] to keypoints (N, 2), scores (N,), descriptors (N, D) of each.

    Keypoints are in pixels from the first pixel's centre. The maps of a batch are computed together, and so are the
    descriptors of all its keypoints. Keypoints are found image by image: each has its own number of peaks, which are
    sorted by image.
    """

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
            Selu(),
            nn.Conv2d(8, 4, 3, padding=1, bias=False),
            Selu(),
            nn.Conv2d(4, 4, 3, padding=1, bias=False),
            Selu(),
            nn.Conv2d(4, 1, 3, padding=1, bias=False),
        )
        self.desc_head = DescriptorHead(sizes.dim, sizes.samples)

    @torch.no_grad()
    def fold_normalization(self) -> None:
        """Make every batch normalisation part of the convolution before it; once the weights are loaded."""
        for block in (self.block1, self.block2, self.block3, self.block4):
            block.bn1 = _fold(_plain(block.conv1), block.bn1)
            block.bn2 = _fold(_plain(block.conv2), block.bn2)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor, max_keypoints: int, threshold: float, radius: int) -> list[tuple[Tensor, ...]]:
        """Detect at most ``max_keypoints`` an image above ``threshold``, ``radius`` pixels apart; describe them."""
        scores, pyramid = self._maps(images)
        return self._with_descriptors(pyramid, [detect(one, max_keypoints, threshold, radius) for one in scores])

    def describe_strongest(self, images: Tensor, count: int, radius: int) -> tuple[Tensor, Tensor, Tensor]:
        """The ``count`` strongest pixels (B, K, 2) of each image, their scores (B, K) and descriptors (B, K, D).

        The shapes depend on those of the inputs alone, and nothing waits for the processor: a CUDA graph can hold it.
        Where an image has fewer peaks, pixels of score zero follow.
        """
        scores, pyramid = self._maps(images)
        pixels, strengths = zip(*(detect_strongest(one, count, radius) for one in scores), strict=True)
        rows = _rows_in_batch(len(images), len(strengths[0]), images.device)
        descriptors = self.desc_head(pyramid, torch.cat(pixels), rows)
        return torch.stack(pixels), torch.stack(strengths), descriptors.view(len(images), len(strengths[0]), -1)

    def _maps(self, images: Tensor) -> tuple[Tensor, Pyramid]:
        """Score (B, H, W) of every pixel, and the features."""
        images = images.to(self.conv1.weight.dtype, memory_format=torch.channels_last)
        padded, left, top = _pad(images)
        height, width = images.shape[-2:]
        full, half, hidden = self._full_resolution(padded)
        coarse = self._coarse_levels(half)
        scores = self._score_maps(hidden, coarse)[:, top : top + height, left : left + width]
        return scores, Pyramid(full, self.conv1, coarse, (left, top), (width, height))

    def _with_descriptors(self, pyramid: Pyramid, found: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, ...]]:
        """Keypoints and scores of each image, with the descriptors of all computed at once."""
        pixels = torch.cat([pixels for pixels, _ in found])
        counts = [len(scores) for _, scores in found]
        repeats = torch.tensor(counts, device=pixels.device)
        images = torch.arange(len(counts), device=pixels.device).repeat_interleave(repeats, output_size=sum(counts))
        descriptors = self.desc_head(pyramid, pixels, images).split(counts)
        return [(*one, described) for one, described in zip(found, descriptors, strict=True)]

    def _full_resolution(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """First block's features (B, C, H, W), their 2x2 means, the first level's share in the score head (exact)."""
        weight = self._score_weights()[0]
        height, width = images.shape[-2:]
        full = _empty_maps(images, self.conv1.in_channels, height, width, images.dtype)
        half = _empty_maps(images, self.conv1.in_channels, height // 2, width // 2, images.dtype)
        hidden = _empty_maps(images, len(weight), height, width, torch.float32)
        step = _STRIP_ROWS.get(images.device.type, height)
        for top in range(0, height, step):
            bottom = min(top + step, height)
            strip = images[:, :, max(top - _HALO, 0) : bottom + _HALO]
            features = self.block1(strip, top == 0, bottom == height)
            full[:, :, top:bottom] = features
            half[:, :, top // 2 : bottom // 2] = F.avg_pool2d(features, 2)
            hidden[:, :, top:bottom] = _pointwise(selu_(_pointwise(features, self.conv1.weight)), weight)
        return full, half, hidden

    def _coarse_levels(self, half: Tensor) -> list[Tensor]:
        """Features of the three lower levels of the pyramid, from the first block's at half the resolution."""
        x2 = self.block2(half)
        x3 = self.block3(F.avg_pool2d(x2, 4))
        x4 = self.block4(F.avg_pool2d(x3, 4))
        projections = (self.conv2, self.conv3, self.conv4)
        return [selu_(_pointwise(x, conv.weight)) for conv, x in zip(projections, (x2, x3, x4), strict=True)]

    def _score_maps(self, hidden: Tensor, coarse: list[Tensor]) -> Tensor:
        """Keypoint score (B, H, W) in [0, 1] of every pixel of the padded images."""
        for level, weight in zip(coarse, self._score_weights()[1:], strict=True):
            share = _pointwise(level, weight).float()
            hidden += F.interpolate(share, hidden.shape[-2:], mode="bilinear", align_corners=True)
        return torch.sigmoid(self.score_head[1:](hidden.to(weight.dtype)).float())[:, 0]

    def _score_weights(self) -> tuple[Tensor, ...]:
        return self.score_head[0].get_parameter("weight").chunk(4, dim=1)


class _Block(nn.Module):
    """Two 3x3 convolutions on a strip of the image; the strip's halo goes."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2: nn.Module = nn.BatchNorm2d(channels_out)

    def forward(self, strip: Tensor, is_first: bool, is_last: bool) -> Tensor:
        strip = selu_(self.bn1(_convolve_strip(self.conv1, strip, is_first, is_last)))
        return selu_(self.bn2(_convolve_strip(self.conv2, strip, is_first, is_last)))


class _ResidualBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, deformable: bool) -> None:
        super().__init__()
        if deformable:
            self.conv1: nn.Module = _DeformableConv(channels_in, channels_out)
            self.conv2: nn.Module = _DeformableConv(channels_out, channels_out)
        else:
            self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
            self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(channels_out)
        self.bn2: nn.Module = nn.BatchNorm2d(channels_out)
        self.downsample = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = selu_(self.bn1(self.conv1(x)))
        hidden = self.bn2(self.conv2(hidden))
        hidden += _pointwise(x, self.downsample.weight, self.downsample.bias)
        return selu_(hidden)


class _DeformableConv(nn.Module):
    """3x3 convolution that reads its nine taps where another convolution says (DCNv1)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(channels_in, 2 * 3 * 3, 3, padding=1)
        self.regular_conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        limit = max(height, width) / 4.0
        offsets = self.offset_conv(x).float().clamp(-limit, limit).permute(0, 2, 3, 1)
        positions = _tap_positions(x) + offsets.reshape(batch, height, width, 3, 3, 2).flip(-1)
        images = _rows_in_batch(batch, height * width * 9, x.device)
        taps = sample(x, positions.view(-1, 2), images).view(batch, height, width, -1).permute(0, 3, 1, 2)
        weight = self.regular_conv.weight.permute(0, 2, 3, 1).flatten(1)[:, :, None, None]
        return _pointwise(taps, weight, self.regular_conv.bias)


def _tap_positions(x: Tensor) -> Tensor:
    """Positions (H, W, 3, 3, 2) as x, y of the nine taps around every pixel of maps (B, C, H, W)."""
    rows, columns = (torch.arange(size, device=x.device, dtype=torch.float32) for size in x.shape[-2:])
    steps = torch.arange(-1, 2, device=x.device, dtype=torch.float32)
    down, right = rows[:, None, None, None] + steps[:, None], columns[:, None, None] + steps
    shape = (len(rows), len(columns), 3, 3)
    return torch.stack((right.expand(shape), down.expand(shape)), dim=-1)


def _convolve_strip(conv: nn.Conv2d, strip: Tensor, is_first: bool, is_last: bool) -> Tensor:
    """3x3 convolution of rows of an image, zero beyond the image but not beyond the strip, which loses a row there."""
    padded = F.pad(strip, (0, 0, int(is_first), int(is_last))) if is_first or is_last else strip
    return F.conv2d(padded, conv.weight, conv.bias, padding=(0, 1))


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1 convolution of (B, C, H, W) channels last, each row of pixels as a separate image.

    On one thread torch gives only large batches to the faster of its two libraries.
    """
    batch, channels, height, width = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(batch * height, 1, width, channels).permute(0, 3, 1, 2)
    result = F.conv2d(rows, weight, bias)
    return result.permute(0, 2, 3, 1).reshape(batch, height, width, len(weight)).permute(0, 3, 1, 2)


def _rows_in_batch(batch: int, count: int, device: torch.device) -> Tensor:
    """Row in the batch of each item, ``count`` items an image, one image after the other."""
    return torch.arange(batch, device=device).repeat_interleave(count)


def _empty_maps(like: Tensor, channels: int, height: int, width: int, dtype: torch.dtype) -> Tensor:
    shape = (len(like), channels, height, width)
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=torch.channels_last)


def _plain(conv: nn.Module) -> nn.Conv2d:
    return conv.regular_conv if isinstance(conv, _DeformableConv) else cast(nn.Conv2d, conv)


def _fold(conv: nn.Conv2d, norm: nn.Module) -> nn.Identity:
    """Scale and shift a convolution without bias as the normalisation after it does."""
    norm = cast(nn.BatchNorm2d, norm)
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    conv.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
    conv.bias = nn.Parameter(norm.bias - mean * scale)
    return nn.Identity()


def _pad(images: Tensor) -> tuple[Tensor, int, int]:
    """Repeat the border until both sides are multiples of the network's stride; gives the left and top padding."""
    height, width = images.shape[-2:]
    extra_x, extra_y = -width % STRIDE, -height % STRIDE
    left, top = extra_x // 2, extra_y // 2
    if not (extra_x or extra_y):
        return images, 0, 0
    return F.pad(images, (left, extra_x - left, top, extra_y - top), mode="replicate"), left, top


BORDER = 2
_SOFT_ARGMAX_RADIUS = 2
_SOFT_ARGMAX_TEMPERATURE = 0.1


def detect(scores: Tensor, max_keypoints: int, threshold: float, radius: int) -> tuple[Tensor, Tensor]:
    """Keypoints (N, 2) at sub-pixel positions x, y and their scores (N,), strongest first, of a score map (H, W)."""
    inner, margin = _inner_peaks(scores, radius)
    rows, columns = torch.where(inner > threshold)
    order = inner[rows, columns].argsort(descending=True, stable=True)[:max_keypoints]
    return _refined(scores, rows[order] + margin, columns[order] + margin)


def detect_strongest(scores: Tensor, count: int, radius: int) -> tuple[Tensor, Tensor]:
    """As ``detect``, without a threshold and always ``count`` of them, or as many as there are pixels."""
    inner, margin = _inner_peaks(scores, radius)
    strengths, order = inner.flatten().topk(min(count, inner.numel()))
    rows, columns = order // inner.shape[1] + margin, order % inner.shape[1] + margin
    return _refined(scores, rows, columns)[0], strengths


def _inner_peaks(scores: Tensor, radius: int) -> tuple[Tensor, int]:
    """Peaks of a score map without its border, zero elsewhere, and the border's width."""
    margin = max(radius, BORDER)
    return _suppress(scores, radius)[margin:-margin, margin:-margin], margin


def _refined(scores: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Sub-pixel positions (N, 2) and scores (N,) of pixels."""
    pixels = torch.stack((columns, rows), dim=1) + _soft_argmax(scores, rows * scores.shape[1] + columns)
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
