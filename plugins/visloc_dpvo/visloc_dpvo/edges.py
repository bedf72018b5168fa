"""Measurements: which patch is searched in which frame, and the result of the last update."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from visloc_dpvo.config import HIDDEN_SIZE


@dataclass(frozen=True, eq=False)
class Edges:
    """Edge e looks for patch ``kk[e]``, cut from frame ``ii[e]``, in frame ``jj[e]``; all indices int64 (E,).

    ``target`` (E, 2) is where it should be, in pixels of the quarter grid, and ``weight`` (E, 2) in 0..1 how sure that
    is, both zero before the first update. ``net`` (E, 384) is the hidden state; archived edges have none (E, 0).
    """

    ii: Tensor
    jj: Tensor
    kk: Tensor
    target: Tensor
    weight: Tensor
    net: Tensor

    @staticmethod
    def new(ii: Tensor, jj: Tensor, kk: Tensor) -> Edges:
        """Edges that no update has seen."""
        zeros = torch.zeros(len(kk), 2, device=kk.device)
        return Edges(ii, jj, kk, zeros, zeros.clone(), torch.zeros(len(kk), HIDDEN_SIZE, device=kk.device))

    @staticmethod
    def none(device: torch.device) -> Edges:
        """No edges at all."""
        nothing = torch.zeros(0, dtype=torch.int64, device=device)
        return Edges.new(nothing, nothing, nothing)

    def __len__(self) -> int:
        return len(self.kk)

    def __getitem__(self, chosen: Tensor) -> Edges:
        """The edges that a mask (E,) or indices choose."""
        rows = chosen.nonzero().flatten() if chosen.dtype == torch.bool else chosen  # waits for a GPU only once
        return Edges(*(getattr(self, item.name)[rows] for item in fields(self)))

    def __add__(self, other: Edges) -> Edges:
        """These edges, then the others."""
        return Edges(*(torch.cat((getattr(self, item.name), getattr(other, item.name))) for item in fields(self)))

    def updated(self, net: Tensor, target: Tensor, weight: Tensor) -> Edges:
        """The same edges with the results of an update."""
        return Edges(self.ii, self.jj, self.kk, target, weight, net)

    def without_state(self) -> Edges:
        """The same edges as they are archived."""
        return Edges(self.ii, self.jj, self.kk, self.target, self.weight, self.net[:, :0])

    def without_frame(self, frame: int, patches_per_frame: int) -> Edges:
        """Edges that do not touch a frame, renumbered as if it had never been."""
        if not len(self):
            return self
        kept = self[(self.ii != frame) & (self.jj != frame)]
        source_moves, target_moves = (kept.ii > frame).long(), (kept.jj > frame).long()
        return Edges(
            kept.ii - source_moves,
            kept.jj - target_moves,
            kept.kk - patches_per_frame * source_moves,
            kept.target,
            kept.weight,
            kept.net,
        )

    def without_oldest(self, frames: int, patches_per_frame: int) -> Edges:
        """Edges that touch none of the first ``frames``, renumbered without them."""
        kept = self[(self.ii >= frames) & (self.jj >= frames)]
        return Edges(
            kept.ii - frames, kept.jj - frames, kept.kk - patches_per_frame * frames, kept.target, kept.weight, kept.net
        )
