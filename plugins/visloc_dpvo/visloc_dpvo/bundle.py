"""Bundle adjustment of patches: Gauss-Newton on poses and inverse depths against where patches should project to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from visloc_dpvo import lie
from visloc_dpvo.bundle_equations import BundleLayout, BundleStep, NormalEquations

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
        (step, is_indefinite), edges_used = equations.solve(damping), int(equations.edges_used)
        failure = _failure(step, is_indefinite)
        if failure:
            return BundleReport(done, len(kk), edges_used, failure)
        _apply(step, layout, poses, patches)
    return BundleReport(iterations, len(kk), edges_used)


def _centres(patches: Tensor, layout: BundleLayout) -> Tensor:
    """Centre x, y, inverse depth (F M, 3) in the layout's grid; zero where a frame has fewer patches."""
    middle = patches.shape[-1] // 2
    grid = patches.new_zeros(layout.num_sources * layout.patches_per_source, 3)
    return grid.index_copy_(0, layout.cells, patches[layout.patch_ids, :, middle, middle])


@torch.inference_mode()
def adjust_window(
    poses: Tensor,
    patches: Tensor,
    intrinsics: Tensor,
    target: Tensor,
    weight: Tensor,
    layout: BundleLayout,
    iterations: int = 2,
    damping: float = 1e-4,
) -> tuple[Tensor, Tensor]:
    """As ``adjust`` with a given layout, and without waiting for the device: what fails is not applied.

    Gives the iterations that were applied, and the residuals used in the last one.
    """
    edges_used = applied = torch.zeros((), dtype=torch.int64, device=poses.device)
    is_good = torch.ones((), dtype=torch.bool, device=poses.device)
    for _ in range(iterations):
        equations = NormalEquations.at(layout, poses, _centres(patches, layout), intrinsics[0], target, weight)
        step, is_indefinite = equations.solve(damping)
        is_good = is_good & (is_indefinite == 0) & _is_finite(step)
        _apply(step, layout, poses, patches, is_good)
        edges_used, applied = equations.edges_used, applied + is_good
    return applied, edges_used


def window_report(applied: int, edges: int, edges_used: int, iterations: int = 2) -> BundleReport:
    """The report of ``adjust_window``, of numbers that are in main memory."""
    failure = None if applied == iterations else BundleFailure.NOT_FINITE
    return BundleReport(applied, edges, edges_used, failure)


def _failure(step: BundleStep, is_indefinite: Tensor) -> BundleFailure | None:
    if is_indefinite:
        return BundleFailure.NOT_POSITIVE_DEFINITE
    return None if _is_finite(step) else BundleFailure.NOT_FINITE


def _is_finite(step: BundleStep) -> Tensor:
    return step.poses.isfinite().all() & step.depths.isfinite().all()


def _apply(
    step: BundleStep, layout: BundleLayout, poses: Tensor, patches: Tensor, is_good: Tensor | None = None
) -> None:
    """Move poses and patches by a step, where it ``is_good``, if that is not known yet."""
    free, middle = layout.free_frames, patches.shape[-1] // 2
    before = patches[layout.patch_ids, 2]
    depth = before[:, middle, middle] + step.depths
    depth = torch.where(depth > _NEAREST, _RESET, depth).clamp(min=_FARTHEST)
    moved, depths = lie.retract(poses[free], step.poses), depth[:, None, None].expand_as(before)
    if is_good is not None:
        moved, depths = torch.where(is_good, moved, poses[free]), torch.where(is_good, depths, before)
    poses[free] = moved
    patches[layout.patch_ids, 2] = depths
