"""Points of one frame from local features that both its neighbours see, with fixed poses (Lipson et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visloc_dpvo import projection
from visloc_dpvo.bundle import adjust
from visloc_ros.core.camera import HALF_PIXEL
from visloc_ros.core.feature_files import LocalFeatures
from visloc_ros.core.geometry import Array
from visloc_ros.features import Matcher

_ITERATIONS = 6
_DAMPING = 1e-3
_MAX_ERROR_PX = 2.0
_MIDDLE = 1  # of the three frames


@dataclass(frozen=True, eq=False)
class Triple:
    """A frame between its neighbours: their ``features``, ``poses`` (3, 7) camera_from_world, and more of the frame.

    ``intrinsics`` (4,) fx fy cx cy are of the whole image, its first pixel at (0, 0); ``inverse_depth`` is typical.
    """

    features: tuple[LocalFeatures, LocalFeatures, LocalFeatures]
    poses: NDArray[np.float32]
    intrinsics: NDArray[np.float32]
    inverse_depth: float


@dataclass(frozen=True, eq=False)
class FramePoints:
    """``points`` (K, 3) in a frame's camera, the ``features`` that see them, and ``intrinsics`` as in a triple."""

    features: LocalFeatures
    points: Array
    intrinsics: NDArray[np.float32]

    def count_visible(self, points: Array) -> int:
        """How many points (N, 3) in this frame's camera lie in its image."""
        before = points[points[:, 2] > 0.0]
        pixels = before[:, :2] / before[:, 2:] * self.intrinsics[:2] + self.intrinsics[2:] + HALF_PIXEL
        return int(np.all((pixels > 0.0) & (pixels < self.features.image_size), axis=1).sum())


def triangulate(triple: Triple, matcher: Matcher) -> FramePoints:
    """Points of the middle frame that both neighbours confirm to two pixels."""
    before, frame, after = triple.features
    rows, pixels = _tracks(matcher, frame, before, after)
    points, good = triangulate_pixels(triple, _pixels(frame)[rows], pixels)
    return FramePoints(frame.take(rows[good]), points, triple.intrinsics)


def triangulate_pixels(
    triple: Triple, frame_pixels: NDArray[np.float32], neighbour_pixels: NDArray[np.float32]
) -> tuple[Array, NDArray[np.bool_]]:
    """Points in the frame's camera of pixels (K, 2) that the neighbours see at (2, K, 2), and which are good (K,).

    Only depths are adjusted; the points are those of the good pixels alone.
    """
    count = len(frame_pixels)
    if count == 0:
        return np.empty((0, 3)), np.zeros(0, dtype=np.bool_)
    poses, intrinsics = torch.from_numpy(triple.poses), torch.from_numpy(triple.intrinsics).expand(3, 4)
    patches = torch.full((count, 3, 1, 1), triple.inverse_depth)
    patches[:, :2, 0, 0] = torch.from_numpy(frame_pixels)
    target = torch.from_numpy(neighbour_pixels).flatten(0, 1)
    kk = torch.arange(count).repeat(2)
    ii, jj = torch.full_like(kk, _MIDDLE), torch.tensor([0, 2]).repeat_interleave(count)
    ones = torch.ones_like(target)
    adjust(poses, patches, intrinsics, target, ones, ii, jj, kk, 3, 3, _ITERATIONS, _DAMPING)
    found = projection.reproject(poses, patches, intrinsics, ii, jj, kk)[:, :, 0, 0]
    errors = (found - target).norm(dim=1).view(2, count)
    good = (errors.max(dim=0).values < _MAX_ERROR_PX).numpy()
    return _points(patches[:, :, 0, 0], intrinsics[0])[good], good


def _points(patches: Tensor, intrinsics: Tensor) -> Array:
    """Points (K, 3) in the camera of pixels and inverse depths (K, 3)."""
    rays = (patches[:, :2] - intrinsics[2:]) / intrinsics[:2]
    homogeneous = torch.cat((rays, torch.ones_like(rays[:, :1])), dim=1)
    return np.asarray((homogeneous / patches[:, 2:]).double())


def _tracks(
    matcher: Matcher, frame: LocalFeatures, before: LocalFeatures, after: LocalFeatures
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Rows (K,) of the frame's features that both neighbours see, and where these see them (2, K, 2)."""
    partners = np.full((2, len(frame)), -1)
    for partner, matches in zip(partners, matcher.match_many(frame, [before, after]), strict=True):
        partner[matches.pairs[:, 0]] = matches.pairs[:, 1]
    rows = np.flatnonzero((partners >= 0).all(axis=0))
    return rows, np.stack((_pixels(before)[partners[0, rows]], _pixels(after)[partners[1, rows]]))


def _pixels(features: LocalFeatures) -> NDArray[np.float32]:
    return np.asarray(features.keypoints - np.float32(HALF_PIXEL), dtype=np.float32)
