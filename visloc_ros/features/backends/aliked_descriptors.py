"""ALIKED's sparse deformable descriptors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visloc_ros.features.backends.bilinear import rows_of, sample
from visloc_ros.features.backends.selu import Selu, selu_


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
        self._offset = full.new_tensor(offset, dtype=torch.float32)
        self._last = self._offset.new_tensor([size[0] - 1, size[1] - 1])
        span, *spans = (self._offset.new_tensor([one.shape[3] - 1, one.shape[2] - 1]) for one in (full, *coarse))
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
            corner = base + base.new_tensor([step_x, step_y])
            weight_x = fraction[:, 0] if step_x else 1.0 - fraction[:, 0]
            weight_y = fraction[:, 1] if step_y else 1.0 - fraction[:, 1]
            inside = ((corner >= 0) & (corner <= self._last)).all(dim=1)
            weight = (weight_x * weight_y * inside).to(self.full.dtype)
            result = result + self.at(torch.minimum(corner.clamp(min=0), self._last), images) * weight[:, None]
        return result
