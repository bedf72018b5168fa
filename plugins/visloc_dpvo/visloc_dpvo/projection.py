"""From patches to pixels of other frames: the coordinates that are tracked, and apparent motion.

Everything is in pixels of the 1/4-resolution grid. A patch (3, P, P) holds x, y and inverse depth of its pixels, and
its homogeneous point is X = ((x - cx)/fx, (y - cy)/fy, 1, inverse depth) in the frame it was cut from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visloc_dpvo import lie

_MIN_PROJECTED_Z = 0.1
_MIN_VALID_Z = 0.2


def reproject(poses: Tensor, patches: Tensor, intrinsics: Tensor, ii: Tensor, jj: Tensor, kk: Tensor) -> Tensor:
    """Pixels (E, 2, P, P) of patches ``kk`` of frames ``ii`` in frames ``jj``; z is clamped at 0.1 before dividing.

    ``poses`` (N, 7) camera_from_world, ``patches`` (K, 3, P, P), ``intrinsics`` (N, 4) fx fy cx cy; indices (E,).
    """
    points = _points(patches[kk], intrinsics[ii])
    return _pixels(_moved(_relative(poses, ii, jj), points), intrinsics[jj])


def flow_magnitude(
    poses: Tensor, patches: Tensor, intrinsics: Tensor, ii: Tensor, jj: Tensor, kk: Tensor, beta: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Length of the motion in the image (E, P, P) in pixels, and whether the point lies in front of frame ``jj``.

    The length is ``beta`` parts of the whole motion and 1 - ``beta`` parts of what translation alone would cause, so
    that turning on the spot counts only half. Points nearer than z = 0.2 are not valid.
    """
    cut, relative = patches[kk], _relative(poses, ii, jj)
    points = _points(cut, intrinsics[ii])
    moved = _moved(relative, points)
    shifted = points[:, :3] + relative[:, :3, None, None] * points[:, 3:]
    whole = (_pixels(moved, intrinsics[jj]) - cut[:, :2]).norm(dim=1)
    translational = (_pixels(shifted, intrinsics[jj]) - cut[:, :2]).norm(dim=1)
    return beta * whole + (1.0 - beta) * translational, moved[:, 2] > _MIN_VALID_Z


def _relative(poses: Tensor, ii: Tensor, jj: Tensor) -> Tensor:
    """Motion (E, 7) from camera ``ii`` to camera ``jj``."""
    return lie.compose(poses[jj], lie.inverse(poses[ii]))


def _points(patches: Tensor, intrinsics: Tensor) -> Tensor:
    """Homogeneous points (E, 4, P, P) in the frame of the patches."""
    focal, centre = intrinsics[:, :2, None, None], intrinsics[:, 2:, None, None]
    rays = (patches[:, :2] - centre) / focal
    return torch.cat((rays, torch.ones_like(rays[:, :1]), patches[:, 2:]), 1)


def _moved(relative: Tensor, points: Tensor) -> Tensor:
    """Points (E, 3, P, P) in the other camera, R X + t d."""
    turned = lie.rotation(relative) @ points[:, :3].flatten(2)
    return turned.view_as(points[:, :3]) + relative[:, :3, None, None] * points[:, 3:]


def _pixels(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Pixels (E, 2, P, P) of points (E, 3, P, P)."""
    depth = points[:, 2:].clamp(min=_MIN_PROJECTED_Z)
    return intrinsics[:, :2, None, None] * points[:, :2] / depth + intrinsics[:, 2:, None, None]
