"""Baselines without a fusion: causal alignments of odometry to the anchors that have come so far.

``single``: one Umeyama similarity from all anchors so far. ``last``: piecewise, from the last few. ``rigid``: the same,
but with the scale of the first alignment. Poses of different odometry segments share neither origin nor scale, so each
segment is aligned by its own anchors. None gates, weighs or smooths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from testing.fusion_replay import PoseTrack
from testing.fusion_runs import FusionRun
from visloc_ros.core.geometry import Array, Sim3, umeyama
from visloc_ros.core.types import OdometryPose

FEWEST = 3
FIRST_ALIGNMENT = 5

Fit = Callable[[Array, Array], Sim3]
"""``map_from_odom`` from matched positions (K, 3), K >= 3, in the map and in odometry, in the order of their stamps."""


def single(map_positions: Array, odom_positions: Array) -> Sim3:
    """One similarity for everything so far."""
    return umeyama(map_positions, odom_positions)


def last(window: int) -> Fit:
    """Piecewise: the similarity of the last ``window`` anchors."""
    return lambda map_positions, odom_positions: umeyama(map_positions[-window:], odom_positions[-window:])


def rigid(window: int) -> Fit:
    """The rigid transform of the last ``window`` anchors, with the scale of the first alignment."""

    def fit(map_positions: Array, odom_positions: Array) -> Sim3:
        scale = umeyama(map_positions[:FIRST_ALIGNMENT], odom_positions[:FIRST_ALIGNMENT]).scale
        aligned = umeyama(map_positions[-window:], scale * odom_positions[-window:], with_scale=False)
        return Sim3(scale, aligned.rotation, aligned.translation)

    return fit


def align_causally(run: FusionRun, fit: Fit) -> PoseTrack:
    """Poses of every frame from the anchors that had come by then; none before three of the segment have."""
    odometry = _Odometry.of(run)
    positions, rotations = np.full((len(run.truth), 3), np.nan), np.full((len(run.truth), 3, 3), np.nan)
    for frames, anchored, seen in _epochs(run, odometry):
        try:
            map_from_odom = fit(seen, odometry.positions[anchored])
        except ZeroDivisionError:  # all anchors from exactly one spot: no scale, no pose
            continue
        positions[frames] = map_from_odom @ odometry.positions[frames]
        rotations[frames] = map_from_odom.rotation @ odometry.rotations[frames]
    return PoseTrack(positions, rotations)


def without_outliers(run: FusionRun) -> FusionRun:
    """The run without the anchors that are gross errors or aliases."""
    return replace(
        run, anchors=[(stamp, anchor) for stamp, anchor in run.anchors if anchor.stamp_ns not in run.outliers]
    )


@dataclass(frozen=True, eq=False)
class _Odometry:
    """``odom_from_camera`` of N frames, NaN where it is lost, and their segments, -1 where it is."""

    positions: Array
    rotations: Array
    segments: NDArray[np.int64]

    @staticmethod
    def of(run: FusionRun) -> _Odometry:
        poses = [result if isinstance(result, OdometryPose) else None for result in run.odometry]
        track = PoseTrack.of([None if pose is None else pose.odom_from_camera for pose in poses])
        segments = np.array([-1 if pose is None else pose.segment for pose in poses])
        return _Odometry(track.positions, track.rotations, segments)


def _epochs(run: FusionRun, odometry: _Odometry) -> Iterator[tuple[slice, NDArray[np.intp], Array]]:
    """Frames between two arrivals, the frames (K,) of the anchors that they know, and where these see them (K, 3)."""
    stamps_ns = np.array(run.stamps_ns)
    known_from = np.searchsorted(stamps_ns, [arrival for arrival, _ in run.anchors])
    anchored = np.searchsorted(stamps_ns, [anchor.stamp_ns for _, anchor in run.anchors])
    seen = np.array([anchor.map_from_camera.translation for _, anchor in run.anchors]).reshape(-1, 3)
    starts = np.flatnonzero(np.diff(odometry.segments)) + 1
    edges = np.unique(np.concatenate([known_from, starts, [len(stamps_ns)]]))
    for first, end in pairwise(edges):
        segment = odometry.segments[first]
        own = np.flatnonzero((known_from <= first) & (odometry.segments[anchored] == segment))
        if segment >= 0 and len(own) >= FEWEST:
            own = own[np.argsort(anchored[own])]
            yield slice(int(first), int(end)), anchored[own], seen[own]
