"""Residuals of patch centres and their derivatives (Teed et al. 2023).

The derivative by the source pose is minus that by the target pose times the adjoint of the relative pose.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from visloc_dpvo import lie

_MAX_RESIDUAL = 128.0
_MIN_Z = 0.2
_IMAGE_MARGIN = 64.0


class Linearisation(NamedTuple):
    """Residuals (E, 2) in pixels, derivatives by target pose (E, 2, 6) and inverse depth (E, 2), and which count."""

    residual: Tensor
    by_target: Tensor
    by_depth: Tensor
    used: Tensor


def linearise(relative: Tensor, centres: Tensor, intrinsics: Tensor, target: Tensor) -> Linearisation:
    """Linearise the projections of patch centres (E, 3) (x, y, inverse depth) through ``relative`` poses (E, 7).

    ``intrinsics`` (4,) fx fy cx cy serve for every edge, and 2 cx, 2 cy stand for the image's size. An edge is used
    if its point is farther than z = 0.2, projects to within 64 pixels of the image and 128 of ``target`` (E, 2).
    """
    focal, principal = intrinsics[:2], intrinsics[2:]
    rays = torch.cat(((centres[:, :2] - principal) / focal, torch.ones_like(centres[:, 2:])), 1)
    depth, translation = centres[:, 2:], relative[:, :3]
    point = (lie.rotation(relative) @ rays[:, :, None])[..., 0] + translation * depth
    near = point[:, 2:] < _MIN_Z
    inverse_z = torch.where(near, 0.0, 1.0 / torch.where(near, 1.0, point[:, 2:]))
    slope = point[:, :2] * inverse_z
    pixel = focal * slope + principal
    residual = target - pixel
    inside = (pixel > -_IMAGE_MARGIN) & (pixel < 2.0 * principal + _IMAGE_MARGIN)
    used = inside.all(1) & (point[:, 2] > _MIN_Z) & (residual.norm(dim=1) < _MAX_RESIDUAL)
    by_depth = focal * inverse_z * (translation[:, :2] - translation[:, 2:] * slope)
    return Linearisation(residual, focal[:, None] * _by_target(slope, depth * inverse_z), by_depth, used)


def _by_target(slope: Tensor, nearness: Tensor) -> Tensor:
    """Derivatives (E, 2, 6) of the slope (X/Z, Y/Z) by the target pose; ``nearness`` (E, 1) is inverse depth / Z."""
    x, y = slope.unbind(1)
    near, zero = nearness[:, 0], torch.zeros_like(x)
    row_x = torch.stack((near, zero, -x * near, -x * y, 1 + x * x, -y), 1)
    row_y = torch.stack((zero, near, -y * near, -1 - y * y, x * y, x), 1)
    return torch.stack((row_x, row_y), 1)
