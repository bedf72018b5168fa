"""Loops by proximity: old patches that project into recent frames are measured there again (Lipson et al. 2024).

Each found pair of frames becomes one measurement a patch, from the old frame to the recent one. While such
measurements are active, updates adjust all frames at once, after normalising scale and origin (Teed et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from visloc_dpvo import projection
from visloc_dpvo.bundle import BundleReport, adjust
from visloc_dpvo.config import DpvoConfig
from visloc_dpvo.edges import Edges
from visloc_dpvo.state import DpvoState

MIN_FRAMES_APART = 30
MAX_PAIRS = 1000
_MIN_VALID_SHARE = 0.75
_MAX_SCORE = 1000.0
_FLOW_MIX = 0.5  # turning on the spot counts half
_EDGES_AT_ONCE = 200_000


class ProximityLoops:
    """Adds measurements of old patches in recent frames to a state, now and then."""

    def __init__(self, config: DpvoConfig) -> None:
        self._config = config.resolved()
        self._last_find: int | None = None

    def add(self, state: DpvoState, *, at_the_end: bool = False) -> int:
        """Look for loops if it is time to, or ``at_the_end``; gives the number of frame pairs that were added.

        After a find the next search waits for ``global_opt_freq`` frames.
        """
        counted = state.num_forgotten + state.num_frames
        waits = self._last_find is not None and counted - self._last_find < self._config.global_opt_freq
        if waits and not at_the_end:
            return 0
        pairs = find_pairs(state, self._config)
        if pairs:
            self._last_find = counted
            patches = torch.cat([state.patches_of(i, i + 1) for i, _ in pairs])
            targets = torch.tensor([j for _, j in pairs], device=state.device)
            state.add_edges(patches, targets.repeat_interleave(state.patches_per_frame))
        return len(pairs)


def find_pairs(state: DpvoState, config: DpvoConfig) -> list[tuple[int, int]]:
    """Pairs (old frame, recent frame) of a state that are worth measuring."""
    ii, jj = candidate_pairs(state.num_frames, state.features.patch_frames, state.features.map_frames, config)
    if len(ii) == 0:
        return []
    device, patches = state.device, state.patches[: state.num_frames]
    scores = score_pairs(state.poses, patches, state.intrinsics, ii.to(device), jj.to(device)).cpu()
    near = scores < config.backend_thresh
    return select_pairs(scores[near].tolist(), ii[near].tolist(), jj[near].tolist())


def candidate_pairs(num_frames: int, patch_frames: int, map_frames: int, config: DpvoConfig) -> tuple[Tensor, Tensor]:
    """Frames ``ii`` and ``jj`` (P,) of all pairs that may be measured.

    The features of both must still be there when the measurement is updated last, its target being
    ``optimization_window`` frames old: patches are kept of ``patch_frames`` frames, maps of ``map_frames``.
    """
    config = config.resolved()
    last_target = num_frames - config.keyframe_index - 1
    frames_at_last_update = last_target + config.optimization_window
    sources_end = num_frames - config.removal_window
    oldest_source = max(sources_end - config.max_edge_age, frames_at_last_update - patch_frames, 0)
    oldest_target = max(num_frames - config.global_opt_freq, frames_at_last_update - map_frames, 0)
    sources = torch.arange(oldest_source, max(sources_end, oldest_source))
    targets = torch.arange(oldest_target, max(last_target + 1, oldest_target))
    pairs = torch.cartesian_prod(sources, targets)
    pairs = pairs[pairs[:, 1] - pairs[:, 0] >= MIN_FRAMES_APART]
    return pairs[:, 0], pairs[:, 1]


def score_pairs(poses: Tensor, patches: Tensor, intrinsics: Tensor, ii: Tensor, jj: Tensor) -> Tensor:
    """Mean flow (P,) of the patches of frames ``ii`` into frames ``jj`` (P,), in pixels of the quarter grid.

    ``patches`` (N, M, 3, P, P) by frame. Only patches before the camera count; infinite unless these are more than
    three quarters of a frame's patches.
    """
    middle, per_frame = patches.shape[-1] // 2, patches.shape[1]
    centres = patches[..., middle : middle + 1, middle : middle + 1].flatten(0, 1)
    at_once = max(1, _EDGES_AT_ONCE // per_frame)
    batches = [slice(begin, begin + at_once) for begin in range(0, len(ii), at_once)]
    return torch.cat([_mean_flow(poses, centres, intrinsics, ii[batch], jj[batch], per_frame) for batch in batches])


def select_pairs(scores: Sequence[float], ii: Sequence[int], jj: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs (i, j) of frames to measure, the nearest first, at most one of three neighbouring old frames each."""
    chosen: list[tuple[int, int]] = []
    suppressed: set[tuple[int, int]] = set()
    for score, i, j in sorted(zip(scores, ii, jj, strict=True), key=lambda entry: entry[0]):
        if score >= _MAX_SCORE or len(chosen) == MAX_PAIRS:
            break
        if j - i < MIN_FRAMES_APART or (i, j) in suppressed:
            continue
        chosen.append((i, j))
        suppressed.update((neighbour, j) for neighbour in (i - 1, i, i + 1))
    return chosen


def _mean_flow(poses: Tensor, centres: Tensor, intrinsics: Tensor, ii: Tensor, jj: Tensor, num_patches: int) -> Tensor:
    """``score_pairs`` of a batch, given the middle pixels (N * M, 3, 1, 1) of the patches."""
    i, j = ii.repeat_interleave(num_patches), jj.repeat_interleave(num_patches)
    kk = (ii[:, None] * num_patches + torch.arange(num_patches, device=ii.device)).flatten()
    flow, valid = projection.flow_magnitude(poses, centres, intrinsics, i, j, kk, _FLOW_MIX)
    flow, valid = flow.view(len(ii), num_patches), valid.view(len(ii), num_patches)
    mean = torch.where(valid, flow, 0.0).sum(dim=1) / valid.sum(dim=1).clamp(min=1)
    return torch.where(valid.sum(dim=1) > _MIN_VALID_SHARE * num_patches, mean, torch.inf)


class GlobalAdjustment:
    """Runs at most once for every new frame, and only while a loop is being measured."""

    def __init__(self, config: DpvoConfig) -> None:
        self._removal_window = config.resolved().removal_window
        self._last_frame_id: int | None = None

    def is_due(self, state: DpvoState, *, at_the_end: bool = False) -> bool:
        """Whether a measurement of a patch that is long retired is active, and this frame had no adjustment yet.

        A frame is known by its input number: the number of frames repeats when a keyframe is dropped.
        ``at_the_end`` every update may adjust.
        """
        if state.archived is None or (state.frame_ids[-1] == self._last_frame_id and not at_the_end):
            return False
        return bool((state.edges.ii < state.num_frames - self._removal_window - 1).any())

    def run(self, state: DpvoState) -> BundleReport:
        """Normalise, then adjust all frames from the oldest that is measured now on; frame 0 stays the origin."""
        self._last_frame_id = state.frame_ids[-1]
        normalise(state)
        edges = state.edges.without_state()
        if state.archived is not None:
            edges = state.archived + edges
        first_free = max(int(state.edges.ii.min()), 1)
        return adjust_along(state, edges, first_free)


def adjust_along(state: DpvoState, edges: Edges, first_free: int) -> BundleReport:
    """Adjust the frames from ``first_free`` on, and the depths of all patches, to the edges' measurements."""
    return adjust(
        state.poses,
        state.flat_patches,
        state.intrinsics,
        edges.target,
        edges.weight,
        edges.ii,
        edges.jj,
        edges.kk,
        first_free,
        state.num_frames,
    )


def normalise(state: DpvoState) -> None:
    """Make the mean inverse depth of all patches 1 and frame 0 the origin; no reprojection changes."""
    state.move_world(float(state.inverse_depths.mean()))
