"""ALIKED's sparse deformable descriptors, and the layers that are faster than torch's: sampling and SELU."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DescriptorHead(nn.Module):
    """Sparse deformable descriptor head: every keypoint chooses where around it the features are sampled."""

    def __init__(self, dim: int, samples: int) -> None:
        super().__init__()
        self.samples = samples
        self.offset_conv = nn.Sequential(nn.Conv2d(dim, 2 * samples, 3), Selu(), nn.Conv2d(2 * samples, 2 * samples, 1))
        self.sf_conv = nn.Conv2d(dim, dim, 1, bias=False)
        self.agg_weights = nn.Parameter(torch.empty(samples, dim, dim))

    def forward(self, pyramid: Pyramid, pixels: Tensor, images: Tensor) -> Tensor:
        """Unit descriptors (N, D) of keypoints (N, 2) in images of a batch by row, ``images`` (N,)."""
        offsets = self._offsets(pyramid, pixels, images)
        positions = (pixels[:, None, :] + offsets).reshape(-1, 2)
        sampled = pyramid.interpolate(positions, images.repeat_interleave(self.samples))
        features = selu_(sampled @ self.sf_conv.weight[:, :, 0, 0].T)
        flat = features.view(len(pixels), self.samples * features.shape[1]) @ self.agg_weights.flatten(0, 1)
        return F.normalize(flat.float(), dim=1)

    def _offsets(self, pyramid: Pyramid, pixels: Tensor, images: Tensor) -> Tensor:
        """Sampling offsets (N, samples, 2) in pixels from the 3x3 neighbourhood of each keypoint."""
        patches = pyramid.patches(pixels.long(), images)
        limit = max(pyramid.size) / 4.0
        offsets: Tensor = self.offset_conv(patches).float().clamp(-limit, limit)
        return offsets.view(len(pixels), 2, self.samples).transpose(1, 2)


class Pyramid:
    """Feature levels that are enlarged to image size, joined and normalised only at the requested pixels.

    The first level, which has the padded image's size, is projected only there, too. The levels are those of a batch:
    the numbers of pixels may differ by image, and each pixel comes with its image's row in the batch.
    """

    def __init__(
        self,
        full: Tensor,
        projection: nn.Conv2d,
        coarse: Sequence[Tensor],
        offset: tuple[int, int],
        size: tuple[int, int],
    ) -> None:
        self.full, self.coarse, self.size = full, coarse, size
        self._projection = projection.weight[:, :, 0, 0].T
        self._offset = _pair(*offset, full.device)
        self._last = _pair(size[0] - 1, size[1] - 1, full.device)
        span, *spans = (_pair(one.shape[3] - 1, one.shape[2] - 1, full.device) for one in (full, *coarse))
        self._scales = [one / span for one in spans]

    def at(self, pixels: Tensor, images: Tensor) -> Tensor:
        """Unit features (M, D) at whole pixels (M, 2) of images (M,), which must lie inside the image."""
        padded = pixels + self._offset
        columns, lines = padded.long().unbind(dim=1)
        rows = (images * self.full.shape[2] + lines) * self.full.shape[3] + columns
        fine = selu_(rows_of(self.full)[rows] @ self._projection)
        coarse = [sample(level, padded * scale, images) for level, scale in zip(self.coarse, self._scales, strict=True)]
        return F.normalize(torch.cat((fine, *coarse), dim=1), dim=1)

    def patches(self, pixels: Tensor, images: Tensor) -> Tensor:
        """Features (N, D, 3, 3) around whole pixels (N, 2) of images (N,), shifted inwards at the image border."""
        corner = torch.minimum((pixels - 1).clamp(min=0), self._last - 3)
        steps = torch.arange(3, device=pixels.device)
        grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1).view(1, 9, 2)
        features = self.at((corner[:, None, :] + grid).view(-1, 2), images.repeat_interleave(9))
        return features.view(len(pixels), 3, 3, features.shape[1]).permute(0, 3, 1, 2)

    def interpolate(self, positions: Tensor, images: Tensor) -> Tensor:
        """Features (M, D) at sub-pixel positions (M, 2) of images (M,), bilinear between whole pixels, zero outside."""
        base = positions.floor()
        fraction = positions - base
        result = self.full.new_zeros(())
        for step_x, step_y in ((0, 0), (1, 0), (0, 1), (1, 1)):
            corner = torch.stack((base[:, 0] + step_x, base[:, 1] + step_y), dim=1)
            weight_x = fraction[:, 0] if step_x else 1.0 - fraction[:, 0]
            weight_y = fraction[:, 1] if step_y else 1.0 - fraction[:, 1]
            inside = ((corner >= 0) & (corner <= self._last)).all(dim=1)
            weight = (weight_x * weight_y * inside).to(self.full.dtype)
            result = result + self.at(torch.minimum(corner.clamp(min=0), self._last), images) * weight[:, None]
        return result


def _pair(x: float, y: float, device: torch.device) -> Tensor:
    """Two numbers, written on the device: a copy from the processor would make a GPU wait."""
    return torch.cat([torch.full((1,), float(value), device=device) for value in (x, y)])


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


ALPHA = 1.6732632423543772
SCALE = 1.0507009873554805
_LOG2_E = 1.0 / math.log(2.0)
_PART = 1 << 18  # numbers that are processed together, so that they stay in the cache


# SELU (Klambauer et al., NeurIPS 2017) by the exponential to base two, which is fast on every processor. Torch takes it
# from ``expm1``, whose AVX-512 version is up to ten times slower than its AVX2 version: most of the time of a small
# network. The error of ``exp(x) - 1`` near zero is less than the rounding of a number near one. ``exp2`` is three times
# as fast as ``exp``, whose AVX-512 version is slow, too.


def selu_(x: Tensor) -> Tensor:
    """SELU of a tensor, in place; on a CPU computed in single precision."""
    if x.device.type != "cpu":
        return F.selu_(x)
    if x.numel() == 0:
        return x
    rows = max(1, _PART * x.shape[-2] // x.numel())
    for part in torch.split(x, rows, dim=-2):
        if part.dtype == torch.float32:
            _apply_(part)
        else:
            part.copy_(_apply_(part.float()))
    return x


def _apply_(x: Tensor) -> Tensor:
    negative = (x * _LOG2_E).exp2_().clamp_(max=1.0).sub_(1.0)
    return x.clamp_(min=0.0).add_(negative, alpha=ALPHA).mul_(SCALE)


class Selu(nn.Module):
    """The same as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """SELU of a tensor, in place."""
        return selu_(x)
