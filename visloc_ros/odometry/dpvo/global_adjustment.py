"""Bundle adjustment of all frames at once, after normalising scale and origin (Teed et al. 2023)."""

from __future__ import annotations

from visloc_ros.odometry.dpvo.bundle import BundleReport, adjust
from visloc_ros.odometry.dpvo.config import DpvoConfig
from visloc_ros.odometry.dpvo.edges import Edges
from visloc_ros.odometry.dpvo.state import DpvoState


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
