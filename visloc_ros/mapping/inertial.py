"""Which way is up in a reconstruction, from an accelerometer that was carried along the camera's path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.gravity import GRAVITY, MIN_BLOCKS, find_gravity, measure_blocks
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.mapping.gravity import Up
from visloc_ros.sources.measurements import Accelerations


def up_from_accelerations(paths: Sequence[tuple[Trajectory, Accelerations]], max_gap_s: float) -> Up:
    """Where up is, from accelerations along the paths ``sfm_from_camera`` of one or several recordings.

    Samples between images more than ``max_gap_s`` apart are left out; blocks with knocks count little. Raises
    MapError where the samples are too few, or do not show a gravity of 9.8 m/s^2.
    """
    blocks = [
        block
        for path, samples in paths
        for run in _runs(path, max_gap_s)
        for block in measure_blocks(run, samples.stamps_ns, samples.in_camera)
    ]
    if len(blocks) < MIN_BLOCKS:
        raise MapError(
            f"the IMU covers {len(blocks)} half seconds between registered images, {MIN_BLOCKS} are needed: check "
            "that its stamps are of the same clock as the images'"
        )
    gravity = find_gravity(blocks)
    if not gravity.is_plausible:
        raise MapError(
            f"the IMU's accelerations show a gravity of {gravity.magnitude:.2f} m/s^2 instead of {GRAVITY}: they must "
            "be in m/s^2 with gravity in them, and the rotation between IMU and camera and both clocks must be right"
        )
    return Up(gravity.up, gravity.error_deg, "imu")


def _runs(path: Trajectory, max_gap_s: float) -> Iterator[Trajectory]:
    """Parts of a path without gaps, of two images and more."""
    breaks = np.flatnonzero(np.diff(path.stamps_ns) > max_gap_s * NANOSECONDS) + 1
    for rows in np.split(np.arange(len(path)), breaks):
        if len(rows) > 1:
            yield Trajectory(path.stamps_ns[rows], path.poses[rows[0] : rows[-1] + 1])
