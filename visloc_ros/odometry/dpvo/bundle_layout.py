"""Indices of every edge in the normal equations of a bundle adjustment, computed once for all iterations.

Patches are kept per source frame, which is what makes the coupling of poses and depths small: the patches of one
frame see only the frames that they have edges to, whether the problem is a window or the whole journey. A *row* is
one frame that patches of a source frame are coupled with: their target (a row for every pair of frames), or the
source frame itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_CHUNK_VALUES = 1 << 24  # float32 values that a batch of coupling products may have: 64 MB


@dataclass(frozen=True)
class BundleLayout:
    """Indices of E edges, Q pairs of frames, F source frames with up to M patches, N free poses.

    ``pair``, ``patch`` (E,) say where an edge belongs; ``pair_source``, ``pair_i``, ``pair_j`` (Q,) describe pairs.
    Patches lie in a grid (F, M): ``cells`` (K,) are the used ones, flat, and ``patch_ids`` (K,) whose they are.
    ``row_source``, ``row_pose`` (Q + F,) name the source frame of a row and its free pose, N where it is fixed.
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
    first_free: int
    num_free: int

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
            first_free=first_free,
            num_free=num_free,
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
