"""The front end for a GPU: the same steps as ``FrontEnd``, each of them one launch, and one wait a frame."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from visloc_dpvo.bundle import BundleReport
from visloc_dpvo.config import MATCHING_CHANNELS, DpvoConfig
from visloc_dpvo.frame_entry import EnteringFrame, FrameEntry
from visloc_dpvo.frontend import AppearanceLoops, FrontEnd, Network
from visloc_dpvo.pairs import Rows
from visloc_dpvo.state import DpvoState
from visloc_dpvo.support import MeasurementSupport
from visloc_dpvo.window import Correlate, StepOperator, Window, WindowOutcome
from visloc_dpvo.window_tables import Places
from visloc_ros.core.timing import Stopwatch

log = logging.getLogger(__name__)


def one_kernel(device: torch.device, dtype: torch.dtype) -> Correlate | None:
    """The correlation as one kernel; None where it cannot be had: without a GPU, Triton, or a compiler for C."""
    if device.type != "cuda":
        return None
    try:
        from visloc_dpvo.correlation_kernel import correlate

        patches, maps = (torch.zeros(1, MATCHING_CHANNELS, size, size, device=device, dtype=dtype) for size in (3, 8))
        row = torch.zeros(1, dtype=torch.int64, device=device)
        correlate(patches, (maps, maps), torch.zeros(1, 2, 3, 3, device=device), row, row)
    except Exception as error:  # a compiler fails in many ways
        log.warning("dpvo runs far slower than it could on this GPU: its kernel cannot be compiled: %s", error)
        return None
    return correlate


class Operator(StepOperator, Protocol):
    """An update operator that can be used in both ways."""

    def __call__(
        self, net: Tensor, inp: Tensor, corr: Tensor, ii: Tensor, jj: Tensor, kk: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As ``step``; it finds out which edges exchange messages."""


class WindowFrontEnd(FrontEnd):
    """A front end without loops by proximity, whose measurements are ``state.pairs``."""

    def __init__(
        self,
        config: DpvoConfig,
        network: Network,
        operator: Operator,
        correlate: Correlate,
        map_size: tuple[int, int],
        device: torch.device,
        appearance_loops: AppearanceLoops | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(config, network, operator, map_size, device, appearance_loops, dtype)
        self._window = Window(self._config, self.state, operator, correlate, map_size)
        self._last: _Update | None = None
        self._entry = FrameEntry(network, self.state)

    def support(self) -> MeasurementSupport:
        """What supports the pose of the newest frame, once the front end has started."""
        assert self._last is not None
        blocks = self.state.pairs.block[_seen_in_newest(self.state)]  # without those of a frame dropped since
        rows = np.isin(self._last.seen, blocks).nonzero()[0]
        if not len(rows):
            return MeasurementSupport(0, 0, 0.0)
        fitting, weight = self._last.outcome.fitting[rows], self._last.outcome.weight[rows]
        return MeasurementSupport(len(rows) * self._config.patches_per_frame, round(fitting.sum()), weight.mean())

    @property
    def _measures(self) -> bool:
        return len(self.state.pairs) > 0

    def _connect(self) -> None:
        state = self.state
        state.pairs = state.pairs.with_newest(state.num_frames - 1, self._config.patch_lifetime)

    def _retire(self) -> None:
        state = self.state
        state.pairs = state.pairs.without_sources_before(state.num_frames - self._config.removal_window)

    def _update(self, watch: Stopwatch, *, at_the_end: bool = False) -> BundleReport:
        state, tested = self.state, self.state.num_frames - self._config.keyframe_index
        seen = _seen_in_newest(state)
        around = [state.pairs.find(tested - 1, tested + 1), state.pairs.find(tested + 1, tested - 1)]
        checked = np.array([*seen, *(place for place in around if place is not None)], np.int64)
        with watch("update"):
            outcome = self._window.update(
                Places(state.pairs, self._first_free, state.num_frames, state.num_forgotten, checked)
            )
        flow = None if None in around else float(outcome.flow[-2:].mean())
        self._last = _Update(outcome, seen, flow)
        state.pairs = state.pairs.updated()
        return outcome.report

    def _mean_flow(self, one: int, other: int) -> float | None:
        """Known from the last update, for the two frames around the one that may be dropped."""
        assert self._last is not None
        return self._last.flow_around_tested

    def _put(self, image: Tensor, intrinsics: Tensor, stamp_ns: int) -> None:
        state, (centres, drawn) = self.state, self._draw(image)
        motion = None
        if state.num_frames >= 2:
            is_damped = self._config.motion_model == "DAMPED_LINEAR"
            motion = self._config.motion_damping * self._steps_ahead(stamp_ns) if is_damped else 0.0
        frame_id = state.timeline.append(stamp_ns)
        self._entry.put(image, intrinsics, EnteringFrame(centres, drawn, motion, self.started))
        state.expect(frame_id)


@dataclass(frozen=True, eq=False)
class _Update:
    """The outcome of an update, places of the pairs ``seen`` in the newest frame, and the flow of the keyframe test."""

    outcome: WindowOutcome
    seen: Rows
    flow_around_tested: float | None


def _seen_in_newest(state: DpvoState) -> Rows:
    """Places of the pairs that measure patches of older frames in the newest one."""
    newest = state.num_frames - 1
    return np.flatnonzero((state.pairs.target == newest) & (state.pairs.source != newest))
