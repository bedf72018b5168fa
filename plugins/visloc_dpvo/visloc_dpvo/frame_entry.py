"""A new frame's way into the state in work of fixed sizes, which a GPU does as one CUDA graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from visloc_dpvo import lie
from visloc_dpvo.frontend import DEPTH_FRAMES, Network, describe, extrapolate
from visloc_dpvo.state import DpvoState
from visloc_ros.features.backends.cuda_graph import CapturedGraph, Outputs

_ROWS, _SWITCHES = 5 + DEPTH_FRAMES, 3


@dataclass(frozen=True, eq=False)
class EnteringFrame:
    """What is drawn for a frame (``FrontEnd``), and the part of the last motion that goes on; None without one."""

    centres: Tensor
    drawn_depths: Tensor
    motion: float | None
    has_started: bool


class FrameEntry:
    """Describes images and writes them into the next row of a state, at predicted poses and first depths.

    On a GPU the second one is captured, and replayed from then on.
    """

    def __init__(self, network: Network, state: DpvoState) -> None:
        self._network, self._state = network, state
        self._origin = lie.identity(device=state.device)
        self._graph: CapturedGraph | None = None
        self._frames = 0

    def put(self, image: Tensor, intrinsics: Tensor, frame: EnteringFrame) -> None:
        """Write a BGR image (3, H, W), uint8, with intrinsics (4,) on the quarter grid."""
        inputs = image, intrinsics, self._numbers(frame).to(image.device)
        self._frames += 1
        if not image.is_cuda or self._frames == 1:
            self._run(*inputs)
        elif self._graph is None:
            self._graph = CapturedGraph.of(self._run, inputs)  # what it writes while it warms up is the same
            self._graph.replay(*inputs)
        else:
            self._graph.replay(*inputs)

    def _numbers(self, frame: EnteringFrame) -> Tensor:
        """All that differs from frame to frame: rows, switches, depths (M,), centres (2 M,), in one vector."""
        row = self._state.num_frames
        before = [max(row - back, 0) for back in (1, 2)]
        newest = [max(row - back, 0) for back in range(1, DEPTH_FRAMES + 1)]
        rows = [row, *before, *self._state.features.rows_of(row), *newest]
        switches = [frame.motion or 0.0, float(frame.motion is not None), float(frame.has_started)]
        parts = (frame.drawn_depths.flatten(), frame.centres.flatten())
        return torch.cat((torch.tensor([*rows, *switches], dtype=torch.float64), *parts))

    def _run(self, image: Tensor, intrinsics: Tensor, numbers: Tensor) -> Outputs:
        state, count = self._state, self._state.patches_per_frame
        rows = numbers[:_ROWS].long()
        motion, has_motion, has_started = numbers[_ROWS : _ROWS + _SWITCHES].float()
        drawn = numbers[_ROWS + _SWITCHES :][:count].float()
        features, patches = describe(self._network, image, numbers[-2 * count :].long().view(-1, 2))

        row, (last, before) = rows[:1], state.poses.index_select(0, rows[1:3])
        predicted = extrapolate(last, before, motion, 1.0)
        state.poses.index_copy_(0, row, torch.where(has_motion > 0, predicted, self._origin)[None])
        depths = state.patches.index_select(0, rows[-DEPTH_FRAMES:])[:, :, 2].flatten().sort().values
        median = depths[(len(depths) - 1) // 2]
        patches[:, 2] = torch.where(has_started > 0, median, drawn)[:, None, None]
        state.patches.index_copy_(0, row, patches[None])
        state.intrinsics.index_copy_(0, row, intrinsics[None])
        state.units.index_fill_(0, row, 0.0)
        state.features.write(rows[3:4], rows[4:5], features)
        return (patches,)
