"""Which edges exchange messages: neighbours along a patch, edges of a patch, edges of a pair of frames.

The edges of one patch talk to each other first, then those of one pair of frames. Both happen within groups of edges
that can be worked through in pieces of whole groups, small enough for a processor's cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_EDGES_AT_A_TIME = 2048  # on a CPU; a GPU takes all at once


@dataclass(frozen=True)
class Piece:
    """Some whole groups: their ``edges`` (n,), group after group, and which edges are in the same group as the last.

    ``members`` (G, L) are places among the n edges, group by group, valid where ``present`` (G, L); ``group`` (n,) is
    the group of every edge. ``is_block``: all edges in their order, in groups of the same size.
    """

    edges: Tensor
    joined: Tensor
    members: Tensor
    present: Tensor
    group: Tensor
    is_block: bool = False

    @classmethod
    def of(cls, edges: Tensor, group: Tensor, counts: Tensor, largest: int) -> Piece:
        """Groups of ``counts`` (G,) edges one after the other; ``group`` (n,) counts from zero."""
        column = torch.arange(largest, device=edges.device)
        starts = counts.cumsum(0) - counts
        present = column < counts[:, None]
        members = (starts[:, None] + column).clamp(max=len(edges) - 1)
        joined = torch.cat((group.new_zeros(1, dtype=torch.bool), group[1:] == group[:-1]))
        return cls(edges, joined, members, present, group)

    def softmax_sum(self, scores: Tensor, values: Tensor) -> Tensor:
        """Sums (G, C) of ``values`` (n, C), weighted with each channel's softmax of ``scores`` over the group."""
        own = self._by_group(scores).float()
        if not self.is_block:
            own = own.masked_fill(~self.present[..., None], -torch.inf)
        weights = (own - own.amax(1, keepdim=True)).exp()
        return (weights * self._by_group(values)).sum(1) / weights.sum(1)

    def _by_group(self, rows: Tensor) -> Tensor:
        if self.is_block:
            return rows.view(*self.members.shape, -1)
        return rows.index_select(0, self.members.flatten()).view(*self.members.shape, -1)


@dataclass(frozen=True)
class EdgeGroups:
    """The edges in pieces of whole patches, sorted by target frame within a patch, and in pieces of whole frame pairs.

    They stay the same until edges are added or removed.
    """

    patches: tuple[Piece, ...]
    pairs: tuple[Piece, ...]

    @classmethod
    def of(cls, ii: Tensor, jj: Tensor, kk: Tensor) -> EdgeGroups:
        """Group the edges (E,) of patches ``kk`` from frames ``ii`` to frames ``jj``."""
        return cls(_pieces(_sorted_by(kk, jj), kk, jj * 0), _pieces(_sorted_by(ii, jj), ii, jj))


def _sorted_by(first: Tensor, second: Tensor) -> Tensor:
    """Stable order by ``first``, then ``second``."""
    order = torch.sort(second, stable=True).indices
    return order[torch.sort(first[order], stable=True).indices]


def _pieces(order: Tensor, first: Tensor, second: Tensor) -> tuple[Piece, ...]:
    """Cut sorted edges between groups that share ``first`` and ``second``, when a piece has grown large enough."""
    if not len(order):
        return ()
    keys = torch.stack((first[order], second[order]), 1)
    group = torch.cat((order.new_zeros(1), (keys[1:] != keys[:-1]).any(1).long())).cumsum(0)
    counts = torch.bincount(group)
    piece_of_group = _piece_of_group(counts)
    group_ends = torch.bincount(piece_of_group).cumsum(0).tolist()
    edge_ends = torch.bincount(piece_of_group[group]).cumsum(0).tolist()
    begins = zip([0, *group_ends], [0, *edge_ends], strict=True)
    pieces = []
    for (first_group, first), end_group, end in zip(begins, group_ends, edge_ends, strict=False):
        own_counts = counts[first_group:end_group]
        own_group = group[first:end] - first_group
        pieces.append(Piece.of(order[first:end], own_group, own_counts, int(own_counts.max())))
    return tuple(pieces)


def _piece_of_group(counts: Tensor) -> Tensor:
    if counts.device.type != "cpu":
        return torch.zeros_like(counts)
    starts = counts.cumsum(0) - counts
    piece: Tensor = torch.unique_consecutive(starts // _EDGES_AT_A_TIME, return_inverse=True)[1]
    return piece
