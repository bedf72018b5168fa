"""Bundle adjustment of patches: Gauss-Newton on poses and inverse depths against where patches should project to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from visloc_ros.odometry.dpvo import lie
from visloc_ros.odometry.dpvo.bundle_equations import BundleLayout, BundleStep, NormalEquations

_FARTHEST, _NEAREST, _RESET = 1e-4, 20.0, 1.0  # inverse depths; one beyond the nearest starts again


class BundleFailure(str, Enum):
    """Why an iteration changed nothing."""

    NOT_POSITIVE_DEFINITE = "NOT_POSITIVE_DEFINITE"
    NOT_FINITE = "NOT_FINITE"


@dataclass(frozen=True)
class BundleReport:
    """The outcome of an adjustment: iterations applied, residuals used in the last one, and why it ended.

    A failed iteration leaves poses and patches as they were before it and is the last.
    """

    iterations: int
    edges: int
    edges_used: int
    failure: BundleFailure | None = None


@torch.inference_mode()
def adjust(
    poses: Tensor,
    patches: Tensor,
    intrinsics: Tensor,
    target: Tensor,
    weight: Tensor,
    ii: Tensor,
    jj: Tensor,
    kk: Tensor,
    first_free: int,
    num_frames: int,
    iterations: int = 2,
    damping: float = 1e-4,
) -> BundleReport:
    """Move ``poses`` first_free..num_frames-1 and the depths of patches ``kk``, in place, so that edges fit.

    ``poses`` (N, 7) camera_from_world, ``patches`` (K, 3, P, P) flat over frames, ``intrinsics`` (N, 4) of which the
    first row serves for all, ``target`` and ``weight`` (E, 2) of the patch centres in 1/4-resolution pixels, indices
    (E,) of source frame (that of the patch), target frame and patch. Windows and whole journeys go the same way: the
    memory grows with E, and with the square of the number of free poses (Teed et al. 2023).
    """
    edges_used = 0
    if not len(kk):
        return BundleReport(0, 0, 0)
    layout = BundleLayout.of(ii, jj, kk, first_free, num_frames)
    for done in range(iterations):
        centres = _centres(patches, layout)
        equations = NormalEquations.at(layout, poses, centres, intrinsics[0], target, weight)
        step, edges_used = equations.solve(damping), int(equations.edges_used)
        failure = _failure(step)
        if step is None or failure:
            return BundleReport(done, len(kk), edges_used, failure)
        _apply(step, layout, poses, patches)
    return BundleReport(iterations, len(kk), edges_used)


def _centres(patches: Tensor, layout: BundleLayout) -> Tensor:
    """Centre x, y, inverse depth (F M, 3) in the layout's grid; zero where a frame has fewer patches."""
    middle = patches.shape[-1] // 2
    grid = patches.new_zeros(layout.num_sources * layout.patches_per_source, 3)
    return grid.index_copy_(0, layout.cells, patches[layout.patch_ids, :, middle, middle])


def _failure(step: BundleStep | None) -> BundleFailure | None:
    if step is None:
        return BundleFailure.NOT_POSITIVE_DEFINITE
    finite = step.poses.isfinite().all() & step.depths.isfinite().all()
    return None if finite else BundleFailure.NOT_FINITE


def _apply(step: BundleStep, layout: BundleLayout, poses: Tensor, patches: Tensor) -> None:
    free = slice(layout.first_free, layout.first_free + layout.num_free)
    poses[free] = lie.retract(poses[free], step.poses)
    middle = patches.shape[-1] // 2
    depth = patches[layout.patch_ids, 2, middle, middle] + step.depths
    depth = torch.where(depth > _NEAREST, _RESET, depth).clamp(min=_FARTHEST)
    patches[layout.patch_ids, 2] = depth[:, None, None].expand(-1, *patches.shape[-2:])
