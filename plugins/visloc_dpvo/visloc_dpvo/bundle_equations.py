"""Normal equations of poses and inverse depths, and their solution (Teed et al. 2023).

Derivatives by the source pose follow from those by the target pose through the adjoint of the relative pose, which all
edges of a pair of frames share: only the target's are summed over edges, the rest is done per pair.

The indices of every edge are computed once for all iterations. Patches are kept per source frame, which is what makes
the coupling of poses and depths small: the patches of one frame see only the frames that they have edges to, whether
the problem is a window or the whole journey. A *row* is one frame that patches of a source frame are coupled with:
their target (a row for every pair of frames), or the source frame itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from visloc_dpvo import lie
from visloc_dpvo.linearisation import Linearisation, linearise

_EDGES_AT_A_TIME = 1 << 18
_CHUNK_VALUES = 1 << 24  # float32 values that a batch of coupling products may have: 64 MB
_RELATIVE_POSE_DAMPING, _ABSOLUTE_POSE_DAMPING = 1e-4, 1.0


@dataclass(frozen=True)
class BundleLayout:
    """Indices of E edges, Q pairs of frames, F source frames with up to M patches, N free poses.

    ``pair``, ``patch`` (E,) say where an edge belongs; ``pair_source``, ``pair_i``, ``pair_j`` (Q,) describe pairs.
    Patches lie in a grid (F, M): ``cells`` (K,) are the used ones, flat, and ``patch_ids`` (K,) whose they are.
    ``row_source``, ``row_pose`` (Q + F,) name the source frame of a row and its free pose, N where it is fixed.
    ``free_frames`` (N,) are the frames of the free poses. A window has so few of them that the coupling of all with all
    patches is one matrix, and nothing needs to be counted.
    """

    pair: Tensor
    patch: Tensor
    pair_source: Tensor
    pair_i: Tensor
    pair_j: Tensor
    patch_ids: Tensor
    cells: Tensor
    row_source: Tensor
    row_pose: Tensor
    num_sources: int
    patches_per_source: int
    free_frames: Tensor
    is_window: bool = False

    @property
    def num_free(self) -> int:
        """Number N of free poses."""
        return len(self.free_frames)

    @classmethod
    def of(cls, ii: Tensor, jj: Tensor, kk: Tensor, first_free: int, num_frames: int) -> BundleLayout:
        """Lay out edges (E,) of patches ``kk`` from frames ``ii``, which follow from the patches, to ``jj``."""
        pair_keys, pair = torch.unique(ii * num_frames + jj, return_inverse=True)
        pair_i, pair_j = pair_keys // num_frames, pair_keys % num_frames
        patch_ids, patch = torch.unique(kk, return_inverse=True)
        frame_of_patch = ii.new_empty(len(patch_ids)).index_copy_(0, patch, ii)
        sources, source = torch.unique(frame_of_patch, return_inverse=True)
        rank, widest = _ranks(source, len(sources))
        cells = source * widest + rank
        num_free = max(num_frames - first_free, 0)
        frames = torch.cat((pair_j, sources))
        pair_source = torch.searchsorted(sources, pair_i)
        return cls(
            pair=pair,
            patch=cells[patch],
            pair_source=pair_source,
            pair_i=pair_i,
            pair_j=pair_j,
            patch_ids=patch_ids,
            cells=cells,
            row_source=torch.cat((pair_source, torch.arange(len(sources), device=ii.device))),
            row_pose=torch.where(frames >= first_free, frames - first_free, num_free),
            num_sources=len(sources),
            patches_per_source=widest,
            free_frames=torch.arange(first_free, first_free + num_free, device=ii.device),
        )

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Source frames (B,) and their rows (B, T) in batches of bounded size; Q + F fills rows up.

        Frames with about as many rows come together, so that little is filled up.
        """
        by_source = torch.sort(self.row_source, stable=True).indices
        counts = torch.bincount(self.row_source, minlength=self.num_sources)
        starts, order = counts.cumsum(0) - counts, counts.argsort(descending=True)
        sizes, begin = counts[order].tolist(), 0
        while begin < self.num_sources:
            width = sizes[begin]
            batch = max(_CHUNK_VALUES // (6 * width * (6 * width + self.patches_per_source)), 1)
            sources = order[begin : begin + batch]
            column = torch.arange(width, device=counts.device)
            places = (starts[sources, None] + column).clamp(max=len(by_source) - 1)
            yield sources, torch.where(column < counts[sources, None], by_source[places], len(by_source))
            begin += batch


def _ranks(groups: Tensor, num_groups: int) -> tuple[Tensor, int]:
    """Position of every member in its group, for members sorted by group, and the size of the largest group."""
    counts = torch.bincount(groups, minlength=num_groups)
    starts = counts.cumsum(0) - counts
    largest = int(counts.max()) if num_groups else 0
    return torch.arange(len(groups), device=groups.device) - starts[groups], largest


@dataclass(frozen=True)
class BundleStep:
    """Increments of the free poses (N, 6) and of the patches' inverse depths (K,)."""

    poses: Tensor
    depths: Tensor


@dataclass(frozen=True)
class NormalEquations:
    """Sums over edges of weight times J^T J and J^T r.

    ``hessian`` (Q, 6, 6) and ``gradient`` (Q, 6) of the target pose per pair, ``coupling`` (Q + F + 1, M, 6) of a
    row's pose with the patches of its source frame (the last row is zero), ``curvature`` and ``slope`` (F, M) of the
    inverse depths, ``adjoints`` (Q, 6, 6) of the relative poses; ``edges_used`` says how many residuals counted.
    """

    layout: BundleLayout
    hessian: Tensor
    gradient: Tensor
    coupling: Tensor
    curvature: Tensor
    slope: Tensor
    adjoints: Tensor
    edges_used: Tensor

    @classmethod
    def at(
        cls, layout: BundleLayout, poses: Tensor, centres: Tensor, intrinsics: Tensor, target: Tensor, weight: Tensor
    ) -> NormalEquations:
        """Sum up at the present ``poses`` (N, 7) and patch ``centres`` (F M, 3), a bounded number of edges at once."""
        relative = lie.compose(poses[layout.pair_j], lie.inverse(poses[layout.pair_i]))
        equations = cls._empty(layout, lie.adjoint(relative))
        at_a_time = len(layout.pair) if layout.is_window else _EDGES_AT_A_TIME
        for begin in range(0, len(layout.pair), at_a_time):
            edges = slice(begin, begin + at_a_time)
            pair, patch = layout.pair[edges], layout.patch[edges]
            terms = linearise(relative[pair], centres[patch], intrinsics, target[edges])
            moving = terms.used & (layout.pair_i != layout.pair_j)[pair]
            equations._add(terms, torch.where(moving[:, None], weight[edges], 0.0), pair, patch)
            equations.edges_used.add_(terms.used.sum())
        equations._couple_sources()
        return equations

    @classmethod
    def _empty(cls, layout: BundleLayout, adjoints: Tensor) -> NormalEquations:
        pairs, rows = len(adjoints), len(layout.row_pose) + 1
        grid = layout.num_sources, layout.patches_per_source
        return cls(
            layout,
            hessian=adjoints.new_zeros(pairs, 6, 6),
            gradient=adjoints.new_zeros(pairs, 6),
            coupling=adjoints.new_zeros(rows, grid[1], 6),
            curvature=adjoints.new_zeros(grid),
            slope=adjoints.new_zeros(grid),
            adjoints=adjoints,
            edges_used=torch.zeros((), dtype=torch.int64, device=adjoints.device),
        )

    def _add(self, terms: Linearisation, weight: Tensor, pair: Tensor, patch: Tensor) -> None:
        weighted = weight[..., None] * terms.by_target
        residual = torch.where(weight != 0, terms.residual, 0.0)  # a target that is not a number has no weight
        by_depth = weight * terms.by_depth
        self.curvature.view(-1).index_add_(0, patch, (by_depth * terms.by_depth).sum(1))
        self.slope.view(-1).index_add_(0, patch, (by_depth * residual).sum(1))
        coupling = (weighted * terms.by_depth[..., None]).sum(1)
        if self.layout.is_window:  # whose edges lie pair by pair
            pairs = len(self.adjoints)
            of_pairs = weighted.reshape(pairs, -1, 6).mT
            self.hessian.copy_(of_pairs @ terms.by_target.reshape(pairs, -1, 6))
            self.gradient.copy_((of_pairs @ residual.reshape(pairs, -1, 1))[..., 0])
            self.coupling[:pairs] = coupling.view(pairs, -1, 6)
            return
        self.hessian.index_add_(0, pair, weighted.mT @ terms.by_target)
        self.gradient.index_add_(0, pair, (weighted * residual[..., None]).sum(1))
        cell = pair * self.layout.patches_per_source + patch % self.layout.patches_per_source
        self.coupling.view(-1, 6).index_add_(0, cell, coupling)

    def _couple_sources(self) -> None:
        """Source poses are coupled through the adjoints of their pairs."""
        pairs = len(self.adjoints)
        self.coupling.index_add_(0, pairs + self.layout.pair_source, -self.coupling[:pairs] @ self.adjoints)

    def solve(self, damping: float) -> tuple[BundleStep, Tensor]:
        """Eliminate the depths, solve for the poses, and back; also whether that failed: no finite step exists.

        It fails where the poses' system is not positive definite. The caller decides when to wait for the answer.
        """
        layout = self.layout
        inverse_curvature = 1.0 / (self.curvature + damping)
        if layout.num_free == 0:
            depths = (inverse_curvature * self.slope).view(-1)[layout.cells]
            return BundleStep(self.gradient.new_zeros(0, 6), depths), depths.new_zeros((), dtype=torch.int32)
        factor, failed = torch.linalg.cholesky_ex(_damped(self._reduced_hessian(inverse_curvature)))
        right = self._reduced_gradient(inverse_curvature * self.slope)
        poses = torch.cholesky_solve(right.view(-1, 1), factor).view(-1, 6)
        depths = inverse_curvature * (self.slope - self._coupled_with(poses))
        return BundleStep(poses, depths.view(-1)[layout.cells]), failed

    def _reduced_hessian(self, inverse_curvature: Tensor) -> Tensor:
        """Hessian (6 N, 6 N) of the free poses with the depths eliminated; what is fixed falls into the last place."""
        places = self.layout.num_free + 1
        blocks = self.hessian.new_zeros(places * places, 6, 6)
        self._add_pose_blocks(blocks, places)
        if not self.layout.is_window:
            self._eliminate_by_source(blocks, places, inverse_curvature)
        free = blocks.view(places, places, 6, 6)[:-1, :-1]
        hessian = free.transpose(1, 2).reshape(6 * (places - 1), 6 * (places - 1))
        return hessian - self._depths_share(places, inverse_curvature) if self.layout.is_window else hessian

    def _depths_share(self, places: int, inverse_curvature: Tensor) -> Tensor:
        """What the depths take from the free poses' Hessian, with the coupling of all poses and patches at once."""
        layout = self.layout
        coupling = self.coupling.new_zeros(layout.num_sources * places, layout.patches_per_source, 6)
        coupling.index_add_(0, layout.row_source * places + layout.row_pose, self.coupling[:-1])
        coupling = coupling.view(layout.num_sources, places, -1, 6)[:, :-1].permute(1, 3, 0, 2).flatten(2).flatten(0, 1)
        return (coupling * inverse_curvature.flatten()) @ coupling.mT

    def _eliminate_by_source(self, blocks: Tensor, places: int, inverse_curvature: Tensor) -> None:
        """Subtract what the depths take from all blocks, a bounded number of source frames at once."""
        padded_pose = torch.cat((self.layout.row_pose, self.layout.row_pose.new_tensor([places - 1])))
        for sources, rows in self.layout.chunks():
            coupling = self.coupling[rows].transpose(2, 3).flatten(1, 2)
            product = (coupling * inverse_curvature[sources, None]) @ coupling.mT
            pose = padded_pose[rows]
            target = pose[:, :, None] * places + pose[:, None]
            product = product.view(*target.shape[:2], 6, -1, 6).transpose(2, 3)
            blocks.index_add_(0, target.flatten(), product.reshape(-1, 6, 6), alpha=-1)

    def _add_pose_blocks(self, blocks: Tensor, places: int) -> None:
        pairs = len(self.adjoints)
        j, i = self.layout.row_pose[:pairs], self.layout.row_pose[pairs + self.layout.pair_source]
        mixed = -self.hessian @ self.adjoints
        blocks.index_add_(0, j * places + j, self.hessian)
        blocks.index_add_(0, j * places + i, mixed)
        blocks.index_add_(0, i * places + j, mixed.mT)
        blocks.index_add_(0, i * places + i, -self.adjoints.mT @ mixed)

    def _reduced_gradient(self, depths: Tensor) -> Tensor:
        """Gradient (N, 6) of the free poses after the depths (F, M) took their share."""
        layout, pairs = self.layout, len(self.adjoints)
        by_source = -(self.adjoints.mT @ self.gradient[..., None])[..., 0]
        share = (self.coupling[:-1] * depths[layout.row_source, :, None]).sum(1)
        gradient = self.gradient.new_zeros(layout.num_free + 1, 6)
        gradient.index_add_(0, layout.row_pose[:pairs], self.gradient)
        gradient.index_add_(0, layout.row_pose[pairs + layout.pair_source], by_source)
        return gradient.index_add_(0, layout.row_pose, share, alpha=-1)[:-1]

    def _coupled_with(self, poses: Tensor) -> Tensor:
        """Change of the depths' right-hand side (F, M) by increments of the free poses (N, 6)."""
        padded = torch.cat((poses, poses.new_zeros(1, 6)))
        effect = (self.coupling[:-1] @ padded[self.layout.row_pose, :, None])[..., 0]
        return torch.zeros_like(self.slope).index_add_(0, self.layout.row_source, effect)


def _damped(hessian: Tensor) -> Tensor:
    diagonal = hessian.diagonal()
    diagonal.add_(_RELATIVE_POSE_DAMPING * diagonal + _ABSOLUTE_POSE_DAMPING)
    return hessian
