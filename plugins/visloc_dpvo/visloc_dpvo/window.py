"""An update of all measurements of a window in work of fixed sizes, which a GPU does as one CUDA graph.

The network's step, the adjustment of poses and depths, and what is looked at afterwards are the same as in
``FrontEnd``; here nothing is counted, sorted or waited for on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from visloc_dpvo import projection
from visloc_dpvo.bundle import BundleReport, adjust_window, window_report
from visloc_dpvo.config import HIDDEN_SIZE, DpvoConfig
from visloc_dpvo.edge_groups import EdgeGroups
from visloc_dpvo.state import DpvoState
from visloc_dpvo.support import is_fitting
from visloc_dpvo.window_tables import Places, WindowSizes, WindowTables
from visloc_ros.core.geometry import Array
from visloc_ros.features.backends.cuda_graph import CapturedGraph

_OUTSIDE = -1e6  # cells, where the spare frame's patches are: nothing sees them
_COUNTS = 2  # iterations and residuals, before the numbers of the checked pairs

Correlate = Callable[[Tensor, tuple[Tensor, Tensor], Tensor, Tensor, Tensor], Tensor]


class StepOperator(Protocol):
    """The update operator, where it is known which edges exchange messages (``network.UpdateOperator``)."""

    def step(self, net: Tensor, inp: Tensor, corr: Tensor, groups: EdgeGroups) -> tuple[Tensor, Tensor, Tensor]:
        """New state (E, 384), correction (E, 2) and weight (E, 2)."""


@dataclass(frozen=True, eq=False)
class WindowOutcome:
    """The adjustment, and of the checked pairs (C,) mean flow [cells], number of fitting measurements, mean weight."""

    report: BundleReport
    flow: Array
    fitting: Array
    weight: Array


class Window:
    """Updates the measured pairs of a state, whose hidden states, targets and weights it keeps.

    On a GPU the second update is captured, and replayed from then on.
    """

    def __init__(
        self,
        config: DpvoConfig,
        state: DpvoState,
        operator: StepOperator,
        correlate: Correlate,
        map_size: tuple[int, int],
    ) -> None:
        self.sizes = WindowSizes.of(config)
        self._state, self._operator, self._correlate, self._map_size = state, operator, correlate, map_size
        self._tables = WindowTables(self.sizes, state.features.map_frames, state.device)
        edges = self.sizes.pairs * self.sizes.patches
        zeros = torch.zeros(self.sizes.pairs + 1, self.sizes.patches, HIDDEN_SIZE, device=state.device)
        self._net = zeros  # the last block stays zero: new measurements begin with it
        self._target = torch.zeros(edges, 2, device=state.device)
        self._weight = torch.zeros(edges, 2, device=state.device)
        state.patches[self.sizes.spare, :, :2] = _OUTSIDE
        self._graph: CapturedGraph | None = None
        self._updates = 0

    @torch.no_grad()
    def update(self, places: Places) -> WindowOutcome:
        """Ask the network where all measured patches are, and adjust poses and depths to that."""
        self._tables.fill(places)
        found = self._replayed().cpu().numpy()
        applied, used = (int(number) for number in found[:_COUNTS])
        report = window_report(applied, len(places.pairs) * self.sizes.patches, used)
        checked = found[_COUNTS:].reshape(3, -1)[:, : len(places.checked)].astype(np.float64)
        return WindowOutcome(report, *checked)

    def _replayed(self) -> Tensor:
        self._updates += 1
        if not self._state.poses.is_cuda or self._updates == 1:
            return self._run()[0]
        if self._graph is None:
            self._graph = CapturedGraph.of(self._run, (), warm_up_runs=0)
        return self._graph.replay()[0]

    def _run(self) -> tuple[Tensor]:
        tables, state, rings = self._tables, self._state, self._state.features
        ii, jj = tables.of_edges(tables["source"]), tables.of_edges(tables["target"])
        coordinates = projection.reproject(
            state.poses, state.flat_patches, state.intrinsics, ii, jj, tables.of_patches(tables["source"])
        )
        patch_rows, frame_rows = tables.of_patches(tables["patch_frame"]), tables.of_edges(tables["map_frame"])
        correlation = self._correlate(rings.flat_gmap, rings.pyramid, coordinates, patch_rows, frame_rows)
        net, delta, weight = self._operator.step(
            self._net.index_select(0, tables["block"]).flatten(0, 1),
            rings.flat_context.index_select(0, patch_rows),
            correlation,
            tables.groups(),
        )
        self._net[:-1] = net.view_as(self._net[:-1])
        self._target.copy_(coordinates[:, :, 1, 1] + delta)
        self._weight.copy_(weight)
        applied, used = adjust_window(
            state.poses, state.flat_patches, state.intrinsics, self._target, self._weight, tables.layout()
        )
        return (torch.cat((torch.stack((applied, used)).float(), self._checked())),)

    def _checked(self) -> Tensor:
        """Mean flow, number of fitting measurements and mean weight, each of all checked pairs (3 C,)."""
        tables, state = self._tables, self._state
        pairs = tables["checked"]
        ii, jj = tables.of_edges(tables["source"][pairs]), tables.of_edges(tables["target"][pairs])
        edges, kk = tables.of_patches(pairs), tables.of_patches(tables["source"][pairs])
        geometry = state.poses, state.flat_patches, state.intrinsics, ii, jj, kk
        flow, _ = projection.flow_magnitude(*geometry)
        weight = self._weight[edges].mean(dim=1)
        pixels = projection.reproject(*geometry)[:, :, 1, 1]
        fitting = is_fitting(pixels, self._target[edges], weight, self._map_size)
        parts = (flow.flatten(1).mean(1), fitting.float(), weight)
        flow_mean, share, weight_mean = (part.view(len(pairs), -1).mean(1) for part in parts)
        return torch.cat((flow_mean, share * self.sizes.patches, weight_mean))
