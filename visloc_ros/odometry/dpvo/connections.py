"""Which measurements a new frame brings, and which end: the bookkeeping of edges (Teed et al. 2023)."""

from __future__ import annotations

import torch

from visloc_ros.odometry.dpvo import projection
from visloc_ros.odometry.dpvo.edges import Edges
from visloc_ros.odometry.dpvo.state import DpvoState

LOOP_FRAMES_APART = 30  # measurements over more frames than these close a loop


def connect_newest(state: DpvoState, lifetime: int) -> None:
    """Look for the patches of the last frames in the newest one, and for its own in the last frames and in itself."""
    newest, oldest = state.num_frames - 1, max(state.num_frames - lifetime, 0)
    earlier = state.patches_of(oldest, newest)
    state.add_edges(earlier, torch.full_like(earlier, newest))
    targets = torch.arange(oldest, newest + 1, device=state.device)
    own = state.patches_of(newest, newest + 1)
    state.add_edges(own.repeat_interleave(len(targets)), targets.repeat(len(own)))


def retire_old(state: DpvoState, removal_window: int, optimization_window: int) -> None:
    """End the measurements of patches older than the removal window; recent loops stay."""
    edges, count = state.edges, state.num_frames
    old = edges.ii < count - removal_window
    if state.archived is not None:
        old &= ~((edges.jj - edges.ii > LOOP_FRAMES_APART) & (edges.jj > count - optimization_window))
    state.retire(old)


def mean_flow(state: DpvoState, one: int, other: int) -> float | None:
    """Mean flow between two frames, there and back, in pixels of the quarter grid; None where nothing measures it."""
    edges = state.edges
    forth, back = (edges.ii == one) & (edges.jj == other), (edges.ii == other) & (edges.jj == one)
    if not (forth.any() and back.any()):
        return None
    return 0.5 * sum(_mean_flow(state, edges[chosen]) for chosen in (forth, back))


def _mean_flow(state: DpvoState, edges: Edges) -> float:
    flow, _ = projection.flow_magnitude(state.poses, state.flat_patches, state.intrinsics, edges.ii, edges.jj, edges.kk)
    return float(flow.mean())
