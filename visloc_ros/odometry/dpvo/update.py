"""The recurrent update operator: how far, and how surely, every edge's patch should move in its target frame.

Teed et al. 2023. Module names are those of the published state dictionary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visloc_ros.odometry.dpvo.edge_groups import EdgeGroups, Piece
from visloc_ros.odometry.dpvo.layers import GatedResidual, LayerNorm, Linear, set_product_type, two_layers
from visloc_ros.odometry.dpvo.sizes import HIDDEN_SIZE

CORRELATION = 882  # values of an edge: 7 x 7 offsets of 3 x 3 pixels on two levels


class UpdateOperator(nn.Module):
    """One step of the recurrent network on E edges."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = two_layers(), two_layers()
        self.norm = LayerNorm()
        self.agg_kk, self.agg_ij = SoftAggregation(), SoftAggregation()
        self.gru = nn.Sequential(LayerNorm(), GatedResidual(), LayerNorm(), GatedResidual())
        self.corr = nn.Sequential(
            *(Linear(CORRELATION, HIDDEN_SIZE), nn.ReLU(), Linear(HIDDEN_SIZE, HIDDEN_SIZE)),
            *(LayerNorm(), nn.ReLU(), Linear(HIDDEN_SIZE, HIDDEN_SIZE)),
        )
        self.d = nn.Sequential(nn.ReLU(), Linear(HIDDEN_SIZE, 2))
        self.w = nn.Sequential(nn.ReLU(), Linear(HIDDEN_SIZE, 2), nn.Sigmoid())

    def set_precision(self, dtype: torch.dtype) -> None:
        """Multiply matrices in ``dtype``; state, norms and what is given out stay in float32."""
        set_product_type(self, dtype)
        set_product_type(self.d, torch.float32)
        set_product_type(self.w, torch.float32)

    def forward(
        self, net: Tensor, inp: Tensor, corr: Tensor, ii: Tensor, jj: Tensor, kk: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New hidden state (E, 384), correction (E, 2) in 1/4-resolution pixels and weight (E, 2) in 0..1, float32.

        ``net`` and ``inp`` (E, 384) are the edges' state and their patches' context, ``corr`` (E, 882) what
        correlation sees.
        """
        return self.step(net, inp, corr, EdgeGroups.of(ii, jj, kk))

    def step(self, net: Tensor, inp: Tensor, corr: Tensor, groups: EdgeGroups) -> tuple[Tensor, Tensor, Tensor]:
        """The same, where it is known which edges exchange messages."""
        state = torch.empty_like(net, dtype=torch.float32)
        for piece in groups.patches:
            net_rows, inp_rows, corr_rows = (part.index_select(0, piece.edges) for part in (net, inp, corr))
            state.index_copy_(0, piece.edges, self._along_patches(net_rows, inp_rows, corr_rows, piece))
        delta, weight = state.new_empty(len(state), 2), state.new_empty(len(state), 2)
        for piece in groups.pairs:
            own = self._across_pairs(state.index_select(0, piece.edges), piece)
            for whole, part in ((state, own), (delta, self.d(own)), (weight, self.w(own))):
                whole.index_copy_(0, piece.edges, part)
        return state, delta, weight

    def _along_patches(self, net: Tensor, inp: Tensor, corr: Tensor, piece: Piece) -> Tensor:
        """Take in what correlation sees, and messages of the neighbours and all other edges of the same patch."""
        net = self.norm(net + inp + self.corr(corr))
        joined = piece.joined[:, None]
        net = net + self.c1(torch.where(joined, net.roll(1, 0), 0.0))
        net = net + self.c2(torch.where(joined.roll(-1, 0), net.roll(-1, 0), 0.0))
        state: Tensor = net + self.agg_kk(net, piece)
        return state

    def _across_pairs(self, net: Tensor, piece: Piece) -> Tensor:
        """Messages of the edges between the same two frames, then the transition to the new state."""
        state: Tensor = self.gru(net + self.agg_ij(net, piece))
        return state


class SoftAggregation(nn.Module):
    """What the edges of a group have in common, given to each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.g, self.h = (Linear(HIDDEN_SIZE, HIDDEN_SIZE) for _ in range(3))

    def forward(self, net: Tensor, piece: Piece) -> Tensor:
        """Message (n, 384) to every edge of the groups."""
        message: Tensor = self.h(piece.softmax_sum(self.g(net), self.f(net)))
        return message.index_select(0, piece.group)
