"""Evaluates visual odometry alone: errors of every segment after a similarity alignment, drift, coverage, losses.

Segments are aligned on positions (Umeyama), and errors are those of evo, the usual ATE. Orientations are aligned on
orientations besides: a hand-held path is often so much longer than wide that some centimetres in its positions turn it
by ten degrees about its long axis, a turn that is no error of the odometry's rotations (and where the path is a line,
any turn fits).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import Array, Sim3, mean_rotation, rotation_angle_deg
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import OdometryPose, Rejection
from visloc_ros.evaluation.association import DEFAULT_TOLERANCE_S, PosePairs, associate
from visloc_ros.evaluation.metrics import Statistics, pose_errors, progress
from visloc_ros.evaluation.relative_drift import Drift, measure_drift
from visloc_ros.evaluation.trajectories import align_pairs, apply_alignment, evaluate_trajectories

MOTION_M = 0.01
"""A camera has begun to move when its true position is this far from where it was at the first frame."""


@dataclass(frozen=True, eq=False)
class SegmentErrors:
    """Errors of one uninterrupted piece of odometry after its own Sim3 alignment ``truth_from_odom``.

    All but the first four are None where the piece is too short, or stands still, or has no truth.
    """

    segment: int
    num_poses: int
    begin_ns: int
    end_ns: int
    true_path_m: float | None = None
    truth_from_odom: Sim3 | None = None
    position_error_m: Statistics | None = None

    @property
    def duration_s(self) -> float:
        """Time from the first to the last pose."""
        return (self.end_ns - self.begin_ns) / NANOSECONDS

    @property
    def metres_per_unit(self) -> float | None:
        """The scale that the alignment found."""
        return None if self.truth_from_odom is None else self.truth_from_odom.scale


@dataclass(frozen=True)
class Coverage:
    """Which frames got a pose.

    ``start_s`` runs from the first frame to the first pose, ``start_after_motion_s`` from the truth's first motion
    (negative when the odometry started on less); both are None where it never started or nothing moved.
    ``num_losses`` counts how often a started odometry lost the pose or began a new segment, ``longest_loss_s`` is
    the longest time between two consecutive poses around such a loss, ``lost_frames`` are all frames without a pose by
    reason, those before the start among them.
    """

    num_frames: int
    num_tracked: int
    num_after_start: int
    start_s: float | None
    start_after_motion_s: float | None
    num_losses: int
    longest_loss_s: float | None
    lost_frames: Mapping[str, int]

    @property
    def tracked_share(self) -> float:
        """Share (0 to 1) of the frames with a pose."""
        return self.num_tracked / max(1, self.num_frames)

    @property
    def tracked_share_after_start(self) -> float | None:
        """Share (0 to 1) of the frames from the first pose on that have one; None where there is none."""
        return self.num_tracked / self.num_after_start if self.num_after_start else None


@dataclass(frozen=True)
class OdometryErrors:
    """Errors of a whole run of odometry.

    ``worst_rmse_m`` is the ATE: segments share no frame, so each is aligned by itself, and the largest of their root
    mean squares counts. ``position_error_m`` and ``rotation_error_deg`` pool the poses of all segments, and so does
    ``aligned_orientation_error_deg``, the rotation errors after alignment of each segment's orientations.
    ``refined_error_m`` is of the odometry's final path, after a separate Sim3 alignment; None where there is none.
    """

    coverage: Coverage
    segments: tuple[SegmentErrors, ...]
    worst_rmse_m: float | None
    position_error_m: Statistics | None
    rotation_error_deg: Statistics | None
    aligned_orientation_error_deg: Statistics | None
    drift: Drift
    refined_error_m: Statistics | None = None


def evaluate_odometry(
    results: Sequence[OdometryPose | Rejection],
    truth: Trajectory | None,
    tolerance_s: float = DEFAULT_TOLERANCE_S,
    refined: Trajectory | None = None,
) -> OdometryErrors:
    """Measure odometry results, one a frame in the order of time, against true ``world_from_camera`` poses.

    ``refined`` is the odometry's final path. Without truth only coverage and segments are reported.
    """
    poses = [result for result in results if isinstance(result, OdometryPose)]
    numbers = sorted({pose.segment for pose in poses})
    pieces = [_measure_segment([p for p in poses if p.segment == n], truth, tolerance_s) for n in numbers]
    errors = np.concatenate([np.empty((0, 3)), *(piece.errors for piece in pieces)])
    segments = tuple(piece.segment for piece in pieces)
    ates = [segment.position_error_m.rmse for segment in segments if segment.position_error_m is not None]
    return OdometryErrors(
        coverage=measure_coverage(results, truth),
        segments=segments,
        worst_rmse_m=max(ates, default=None),
        position_error_m=Statistics.of(errors[:, 0]),
        rotation_error_deg=Statistics.of(errors[:, 1]),
        aligned_orientation_error_deg=Statistics.of(errors[:, 2]),
        drift=measure_drift(piece.aligned for piece in pieces if piece.aligned is not None),
        refined_error_m=_measure_refined(refined, truth, tolerance_s),
    )


def measure_coverage(results: Sequence[OdometryPose | Rejection], truth: Trajectory | None = None) -> Coverage:
    """Count tracked frames, losses and their reasons, and measure the start."""
    tracked = {row: result for row, result in enumerate(results) if isinstance(result, OdometryPose)}
    rows = list(tracked)
    reasons = Counter(result.reason.value for result in results if isinstance(result, Rejection))
    losses_s = _losses_s(results, tracked)
    begin_ns = results[0].stamp_ns if results else 0
    start_ns = results[rows[0]].stamp_ns if rows else None
    motion_ns = _first_motion_ns(truth, begin_ns) if truth is not None else None
    return Coverage(
        num_frames=len(results),
        num_tracked=len(rows),
        num_after_start=len(results) - rows[0] if rows else 0,
        start_s=_seconds_between(begin_ns, start_ns),
        start_after_motion_s=_seconds_between(motion_ns, start_ns),
        num_losses=len(losses_s),
        longest_loss_s=max(losses_s, default=None),
        lost_frames=dict(reasons.most_common()),
    )


def _seconds_between(begin_ns: int | None, end_ns: int | None) -> float | None:
    return None if begin_ns is None or end_ns is None else (end_ns - begin_ns) / NANOSECONDS


def _losses_s(results: Sequence[OdometryPose | Rejection], tracked: Mapping[int, OdometryPose]) -> list[float]:
    """Seconds without a pose of each loss after the start; one that lasts to the end runs to the last frame."""
    rows, poses = list(tracked), list(tracked.values())
    losses = [
        (after.stamp_ns - before.stamp_ns) / NANOSECONDS
        for before, after, gap in zip(poses, poses[1:], np.diff(rows), strict=False)
        if gap > 1 or after.segment != before.segment
    ]
    if rows and rows[-1] != len(results) - 1:
        losses.append((results[-1].stamp_ns - poses[-1].stamp_ns) / NANOSECONDS)
    return losses


def _first_motion_ns(truth: Trajectory, begin_ns: int) -> int | None:
    """Stamp of the first true pose ``MOTION_M`` away from the one at ``begin_ns``; None where nothing moves."""
    later = truth.stamps_ns >= begin_ns
    positions = truth.positions[later]
    if len(positions) == 0:
        return None
    moved = np.linalg.norm(positions - positions[0], axis=1) >= MOTION_M
    return int(truth.stamps_ns[later][np.argmax(moved)]) if moved.any() else None


@dataclass(frozen=True, eq=False)
class _Measured:
    """A segment, the errors (N, 3) of its poses (position, rotation, orientation), and its poses in the truth's frame.

    No errors where it cannot be aligned.
    """

    segment: SegmentErrors
    errors: Array
    aligned: PosePairs | None


def _measure_segment(poses: Sequence[OdometryPose], truth: Trajectory | None, tolerance_s: float) -> _Measured:
    piece = poses[0].segment, len(poses), poses[0].stamp_ns, poses[-1].stamp_ns
    trajectory = Trajectory(np.array([p.stamp_ns for p in poses]), tuple(p.odom_from_camera for p in poses))
    unmeasured = _Measured(SegmentErrors(*piece), np.empty((0, 3)), None)
    if truth is None:
        return unmeasured
    try:
        pairs = associate(trajectory, truth, tolerance_s)
        truth_from_odom = align_pairs(pairs, "sim3")
    except SourceError:  # too short or without motion: nothing can be measured, and the figures stay None
        return unmeasured
    aligned = apply_alignment(truth_from_odom, pairs)
    errors = np.column_stack([pose_errors(aligned.estimates, aligned.truths), _orientation_errors_deg(pairs)])
    path_m = float(progress(pairs, "m")[-1])
    return _Measured(SegmentErrors(*piece, path_m, truth_from_odom, Statistics.of(errors[:, 0])), errors, aligned)


def _measure_refined(path: Trajectory | None, truth: Trajectory | None, tolerance_s: float) -> Statistics | None:
    if path is None or truth is None:
        return None
    try:
        return evaluate_trajectories(path, truth, "sim3", tolerance_s).position_error_m
    except SourceError:  # too short or without motion, as above
        return None


def _orientation_errors_deg(pairs: PosePairs) -> Array:
    """Angles (N,) left between orientations after the one turn of the odometry's frame that fits them best."""
    poses = list(zip(pairs.estimates, pairs.truths, strict=True))
    truth_from_odom = mean_rotation([truth.rotation @ estimate.rotation.T for estimate, truth in poses])
    return np.array(
        [rotation_angle_deg(truth_from_odom @ estimate.rotation, truth.rotation) for estimate, truth in poses]
    )
