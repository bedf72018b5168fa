"""How good visual odometry alone is: drift of every segment after a similarity alignment, coverage, losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import OdometryPose, Rejection
from visloc_ros.evaluation.association import DEFAULT_TOLERANCE_S, PosePairs, associate
from visloc_ros.evaluation.metrics import Statistics, pose_errors, relative_errors
from visloc_ros.evaluation.trajectories import align_pairs, apply_alignment


@dataclass(frozen=True)
class SegmentErrors:
    """Errors of one uninterrupted piece of odometry after its own Sim3 alignment.

    ``relative`` errors are over one second; ``metres_per_unit`` is the scale the alignment found. Errors are
    None where the piece is too short, or stands still, or has no truth.
    """

    segment: int
    num_poses: int
    duration_s: float
    true_path_m: float | None = None
    metres_per_unit: float | None = None
    position_error_m: Statistics | None = None
    rotation_error_deg: Statistics | None = None
    relative_position_error_m: Statistics | None = None
    relative_rotation_error_deg: Statistics | None = None


@dataclass(frozen=True)
class OdometryErrors:
    """Errors of a whole run of odometry.

    ``position_error_m`` pools all segments, each aligned by itself; its ``rmse`` is the usual ATE.
    ``start_s`` is the time from the first frame to the first pose, ``losses`` the frames without pose by reason.
    """

    num_frames: int
    num_tracked: int
    start_s: float | None
    segments: tuple[SegmentErrors, ...]
    losses: Mapping[str, int]
    position_error_m: Statistics | None
    rotation_error_deg: Statistics | None

    @property
    def tracked_share(self) -> float:
        """Share (0 to 1) of the frames with a pose."""
        return self.num_tracked / max(1, self.num_frames)


def evaluate_odometry(
    results: Sequence[OdometryPose | Rejection], truth: Trajectory, tolerance_s: float = DEFAULT_TOLERANCE_S
) -> OdometryErrors:
    """Measure odometry results, one a frame in the order of time, against true ``world_from_camera`` poses."""
    poses = [result for result in results if isinstance(result, OdometryPose)]
    numbers = sorted({pose.segment for pose in poses})
    measured = [_evaluate_segment([p for p in poses if p.segment == n], truth, tolerance_s) for n in numbers]
    errors = np.concatenate([np.empty((0, 2)), *(errors for _, errors in measured)])
    losses = Counter(result.reason.value for result in results if isinstance(result, Rejection))
    return OdometryErrors(
        num_frames=len(results),
        num_tracked=len(poses),
        start_s=(poses[0].stamp_ns - results[0].stamp_ns) / NANOSECONDS if poses else None,
        segments=tuple(segment for segment, _ in measured),
        losses=dict(losses.most_common()),
        position_error_m=Statistics.of(errors[:, 0]),
        rotation_error_deg=Statistics.of(errors[:, 1]),
    )


def _evaluate_segment(
    poses: Sequence[OdometryPose], truth: Trajectory, tolerance_s: float
) -> tuple[SegmentErrors, Array]:
    """Errors of one segment, and its aligned pose errors (N, 2); none where it cannot be aligned."""
    duration_s = (poses[-1].stamp_ns - poses[0].stamp_ns) / NANOSECONDS
    trajectory = Trajectory(np.array([p.stamp_ns for p in poses]), tuple(p.odom_from_camera for p in poses))
    try:
        pairs = associate(trajectory, truth, tolerance_s)
        truth_from_odom = align_pairs(pairs, "sim3")
    except SourceError:  # too short or without motion: nothing can be measured, and the figures stay None
        return SegmentErrors(poses[0].segment, len(poses), duration_s), np.empty((0, 2))
    aligned = apply_alignment(truth_from_odom, pairs)
    errors, relative = pose_errors(aligned.estimates, aligned.truths), relative_errors(aligned, 1.0, "s")
    segment = SegmentErrors(
        poses[0].segment,
        len(poses),
        duration_s,
        _path_length(pairs),
        truth_from_odom.scale,
        Statistics.of(errors[:, 0]),
        Statistics.of(errors[:, 1]),
        Statistics.of(relative[:, 0]),
        Statistics.of(relative[:, 1]),
    )
    return segment, errors


def _path_length(pairs: PosePairs) -> float:
    return float(np.linalg.norm(np.diff(pairs.true_positions, axis=0), axis=1).sum())
