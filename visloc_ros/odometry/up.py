"""The direction of up in the frame of the odometry, from the camera's motion and an accelerometer."""

from __future__ import annotations

from collections import deque

import numpy as np

from visloc_ros.core.geometry import Array
from visloc_ros.core.gravity import BLOCK_S, MIN_BLOCKS, UP_SIGMA_DEG, Block, find_gravity, measure_blocks
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import OdometryPose
from visloc_ros.odometry.sample_buffer import SampleBuffer

_KEEP_S = 10.0
_SPACING_NS = NANOSECONDS // 10  # between the poses that the velocity is taken from
_LONGEST_GAP_NS = NANOSECONDS // 2
_MARGIN_S = 0.2
_MOST_BLOCKS = 40  # half seconds; the odometry's own axes drift over longer times


class UpEstimator:
    """Accelerations (3,) in m/s^2 in the axes of the camera, gravity's reaction in them; again in every segment.

    ``samples`` may be added to from another thread. ``implausible`` counts the half seconds after which gravity was
    not as strong as on Earth: wrong units, axes or clock.
    """

    def __init__(self) -> None:
        self.samples: SampleBuffer[Array] = SampleBuffer(_KEEP_S)
        self.implausible = 0
        self._segment: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the path and its estimates."""
        self._path: list[OdometryPose] = []
        self._blocks: deque[Block] = deque(maxlen=_MOST_BLOCKS)
        self._up: Array | None = None

    def follow(self, pose: OdometryPose) -> Array | None:
        """Take the next pose; gives up (3,) in odometry's frame, None while its error is above ``UP_SIGMA_DEG``."""
        newest_ns = self.samples.newest_ns
        if newest_ns is None:
            return None
        if pose.segment != self._segment:
            self._segment = pose.segment
            self.reset()
        self._extend_path(pose)
        span_ns = self._path[-1].stamp_ns - self._path[0].stamp_ns
        if span_ns >= (BLOCK_S + 2 * _MARGIN_S) * NANOSECONDS <= newest_ns - self._path[0].stamp_ns:
            self._close_block()
        return self._up

    def _extend_path(self, pose: OdometryPose) -> None:
        step_ns = pose.stamp_ns - self._path[-1].stamp_ns if self._path else 0
        if not 0 <= step_ns <= _LONGEST_GAP_NS:
            self._path = []
        if not self._path or step_ns >= _SPACING_NS:
            self._path.append(pose)

    def _close_block(self) -> None:
        """Measure the half second in the middle of the path, and go on from its end."""
        begin_ns = self._path[0].stamp_ns
        stamps_ns = np.array([pose.stamp_ns for pose in self._path], dtype=np.int64)
        path = Trajectory(stamps_ns, tuple(pose.odom_from_camera for pose in self._path))
        samples = self.samples.around(begin_ns, self._path[-1].stamp_ns)
        sample_stamps_ns = np.array([stamp_ns for stamp_ns, _ in samples], dtype=np.int64)
        shown = np.array([value for _, value in samples])
        self._path = [pose for pose in self._path if pose.stamp_ns >= begin_ns + BLOCK_S * NANOSECONDS]
        self._blocks.extend(measure_blocks(path, sample_stamps_ns, shown, _MARGIN_S))
        if len(self._blocks) >= MIN_BLOCKS:
            self._solve()

    def _solve(self) -> None:
        gravity = find_gravity(self._blocks)
        self.implausible += not gravity.is_plausible
        self._up = gravity.up if gravity.is_plausible and gravity.error_deg <= UP_SIGMA_DEG else None
